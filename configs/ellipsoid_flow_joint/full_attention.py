_base_ = ["../_base_/ellipsoid_flow_joint.py"]
save_path = "exp/ellipsoid_flow_joint/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
