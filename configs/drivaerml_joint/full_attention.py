_base_ = ["../_base_/drivaerml_joint.py"]
save_path = "exp/drivaerml_joint/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
