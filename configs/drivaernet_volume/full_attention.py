_base_ = ["../_base_/drivaernet_volume.py"]
save_path = "exp/drivaernet_volume/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
