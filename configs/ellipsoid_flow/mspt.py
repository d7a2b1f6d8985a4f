_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="MSPT-v1m1", in_channels=24, channels=32, depth=8, num_heads=4, ball_size=64, block_size=16)
)
