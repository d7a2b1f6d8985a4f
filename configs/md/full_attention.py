_base_ = ["../_base_/md.py"]
save_path = "exp/md/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=49, channels=64, depth=18, num_heads=8))
