# PointNet (Qi et al. 2017) with the widths of its paper, but for the last.

_base_ = ["../_base_/elasticity.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="PointNet-v1m1", channels=(512, 256, 64), dimensionality=2))
