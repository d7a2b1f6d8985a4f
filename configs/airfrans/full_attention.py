_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="FullAttention-v1m1", in_channels=17, channels=64, depth=8, num_heads=4, dimensionality=2, qk_norm=True
    )
)
search = {"model.backbone.qk_norm": dict(choices=[True, False])}
