_base_ = ["../_base_/eagle.py"]
save_path = "exp/eagle/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="FullAttention-v1m1", in_channels=13, channels=64, depth=18, num_heads=8, dimensionality=2)
)
