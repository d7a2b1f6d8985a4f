_base_ = ["erwin_nsa.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
data = {{_base_._from_anchors}}
