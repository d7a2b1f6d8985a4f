# Transolver with width, blocks and slices of its published elasticity task (Wu et al. 2024).

_base_ = ["../_base_/elasticity.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="Transolver-v1m1", out_channels=64, dimensionality=2))
