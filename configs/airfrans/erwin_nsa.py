_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=17,
        channels=64,
        depth=8,
        num_heads=4,
        num_kv_heads=1,
        local_ball_size=32,
        compressed_ball_size=8,
        num_selected=4,
        dimensionality=2,
        qk_norm=True,
    )
)
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
