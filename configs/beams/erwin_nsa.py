_base_ = ["../_base_/beams.py"]
save_path = "exp/beams/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=23,
        channels=64,
        depth=6,
        num_heads=4,
        num_kv_heads=1,
        local_ball_size=64,
        compressed_ball_size=8,
        num_selected=4,
        qk_norm=True,
    )
)
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
