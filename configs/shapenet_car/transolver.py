# Transolver (Wu et al. 2024) at half the width of its paper's car network, with as many blocks and twice the slices.

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="Transolver-v1m1", out_channels=64))
