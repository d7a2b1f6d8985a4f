_base_ = ["full_attention.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
data = {{_base_._from_anchors}}
