_base_ = ["../_base_/drivaernet.py"]
save_path = "exp/drivaernet/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
