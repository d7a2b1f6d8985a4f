_base_ = ["../_base_/periodic_hills.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="FullAttention-v1m1", in_channels=21, channels=64, depth=12, num_heads=4, dimensionality=2, qk_norm=True
    )
)
search = {"model.backbone.qk_norm": dict(choices=[True, False])}
