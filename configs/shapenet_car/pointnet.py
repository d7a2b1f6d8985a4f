# PointNet (Qi et al. 2017) with the widths of its paper, but for the last.

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="PointNet-v1m1", channels=(512, 256, 64)))
