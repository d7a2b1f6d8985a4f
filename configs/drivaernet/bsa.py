_base_ = ["../_base_/drivaernet.py"]

save_path = "exp/drivaernet/bsa"

model = dict(
    backbone=dict(
        type="BSA-v1m1",
        in_channels=24,
        channels=64,
        depth=12,
        num_heads=4,
        ball_size=256,
        block_size=8,
        topk=4,
        group_size=8,
        qk_norm=True,
    )
)

search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
