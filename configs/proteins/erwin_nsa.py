_base_ = ["../_base_/proteins.py"]
save_path = "exp/proteins/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=47,
        channels=64,
        depth=8,
        num_heads=4,
        num_kv_heads=1,
        local_ball_size=256,
        compressed_ball_size=32,
        num_selected=16,
        num_neighbors=8,
        qk_norm=True,
    )
)
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
