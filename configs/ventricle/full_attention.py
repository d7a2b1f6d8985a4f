_base_ = ["../_base_/ventricle.py"]
save_path = "exp/ventricle/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
