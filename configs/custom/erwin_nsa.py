_base_ = ["../_base_/custom.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=21,
        channels=64,
        depth=8,
        num_heads=4,
        num_kv_heads=1,
        local_ball_size=256,
        compressed_ball_size=16,
        num_selected=4,
        qk_norm=True,
    )
)
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
