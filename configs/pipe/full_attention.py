_base_ = ["../_base_/pipe.py"]
save_path = "exp/pipe/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="FullAttention-v1m1", in_channels=26, channels=64, depth=18, num_heads=8, dimensionality=2)
)
