_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="MSPT-v1m1", depth=10, ball_size=32, block_size=8, dimensionality=2))
