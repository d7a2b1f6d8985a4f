_base_ = ["../_base_/ahmedml.py"]
save_path = "exp/ahmedml/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
