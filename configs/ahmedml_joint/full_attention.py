_base_ = ["../_base_/ahmedml_joint.py"]
save_path = "exp/ahmedml_joint/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
