_base_ = ["../_base_/elasticity.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="MSPT-v1m1", depth=18, ball_size=64, block_size=16, dimensionality=2))
