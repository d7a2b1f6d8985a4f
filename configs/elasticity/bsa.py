_base_ = ["../_base_/elasticity.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._bsa}})
