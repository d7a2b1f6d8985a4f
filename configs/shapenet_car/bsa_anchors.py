_base_ = ["bsa.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
data = {{_base_._from_anchors}}
