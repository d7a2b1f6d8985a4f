# LRSA (Yang et al. 2026) at about the size of bsa.py.

_base_ = ["../_base_/elasticity.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="LRSA-v1m1", depth=12, dimensionality=2))
