_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FLARE-v1m1", in_channels=24, channels=32, num_heads=4, num_latents=32, qk_norm=True))
