_base_ = ["../_base_/periodic_hills.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="PointNet-v1m1", channels=(512, 256, 64), dimensionality=2))
