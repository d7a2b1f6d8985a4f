_base_ = ["../_base_/cosmology.py"]
save_path = "exp/cosmology/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=3, channels=64, depth=18, num_heads=8))
