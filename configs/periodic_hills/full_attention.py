_base_ = ["../_base_/periodic_hills.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
