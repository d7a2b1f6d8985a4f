# Dense attention: the accuracy ceiling of the BSA paper.

_base_ = ["../_base_/elasticity.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="FullAttention-v1m1", in_channels=2, channels=64, depth=18, num_heads=8, dimensionality=2)
)
