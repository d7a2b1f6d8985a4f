_base_ = ["../_base_/ellipsoid_flow_65536.py"]

save_path = "exp/ellipsoid_flow_65536/bsa"

model = dict(
    backbone=dict(
        type="BSA-v1m1",
        in_channels=24,
        channels=32,
        depth=4,
        num_heads=4,
        ball_size=256,
        block_size=8,
        topk=4,
        group_size=8,
        qk_norm=True,
    )
)
