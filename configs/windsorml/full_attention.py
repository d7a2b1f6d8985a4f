_base_ = ["../_base_/windsorml.py"]
save_path = "exp/windsorml/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
