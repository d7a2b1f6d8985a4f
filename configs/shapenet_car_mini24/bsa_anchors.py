_base_ = ["bsa.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
data = {{_base_._from_anchors}}
model = dict(backbone=dict(mp_steps=0))
