_base_ = ["../_base_/ellipsoid_flow_joint.py"]

save_path = "exp/ellipsoid_flow_joint/bsa"

model = dict(
    backbone=dict(
        type="BSA-v1m1",
        in_channels=33,
        channels=32,
        depth=4,
        num_heads=4,
        ball_size=64,
        block_size=8,
        topk=4,
        group_size=8,
        qk_norm=True,
    )
)

search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
