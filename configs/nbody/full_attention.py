_base_ = ["../_base_/nbody.py"]
save_path = "exp/nbody/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=3, channels=64, depth=12, num_heads=4))
