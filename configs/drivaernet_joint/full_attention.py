_base_ = ["../_base_/drivaernet_joint.py"]
save_path = "exp/drivaernet_joint/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
