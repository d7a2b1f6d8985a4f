# LRSA (Yang et al. 2026) at about the size of bsa.py.

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="LRSA-v1m1", depth=12))
