_base_ = ["../_base_/windsorml.py"]

save_path = "exp/windsorml/full_attention"

model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=24, channels=64, depth=12, num_heads=4, qk_norm=True))

search = {"model.backbone.qk_norm": dict(choices=[True, False])}
