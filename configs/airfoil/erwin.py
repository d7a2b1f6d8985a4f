_base_ = ["../_base_/airfoil.py"]
save_path = "exp/airfoil/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin}})
