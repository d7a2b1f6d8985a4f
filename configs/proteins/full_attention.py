_base_ = ["../_base_/proteins.py"]
save_path = "exp/proteins/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=47, channels=64, depth=8, num_heads=4, qk_norm=True))
search = {"model.backbone.qk_norm": dict(choices=[True, False])}
