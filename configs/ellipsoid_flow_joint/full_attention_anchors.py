_base_ = ["full_attention.py"]
save_path = "exp/ellipsoid_flow_joint/{{fileBasenameNoExtension}}"
data = {{_base_._from_anchors}}
