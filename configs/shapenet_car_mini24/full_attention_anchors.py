_base_ = ["full_attention.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
data = {{_base_._from_anchors}}
