_base_ = ["../_base_/plasticity.py"]
save_path = "exp/plasticity/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="FullAttention-v1m1", in_channels=36, channels=64, depth=18, num_heads=8, dimensionality=2)
)
