_base_ = ["../_base_/custom.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=21, channels=64, depth=8, num_heads=4, qk_norm=True))
search = {"model.backbone.qk_norm": dict(choices=[True, False])}
