_base_ = ["../_base_/plasticity.py"]
save_path = "exp/plasticity/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin}})
