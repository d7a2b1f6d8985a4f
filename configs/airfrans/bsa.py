_base_ = ["../_base_/airfrans.py"]

save_path = "exp/airfrans/bsa"

model = dict(
    backbone=dict(
        type="BSA-v1m1",
        in_channels=17,
        channels=64,
        depth=8,
        num_heads=4,
        ball_size=32,
        block_size=8,
        topk=4,
        group_size=8,
        dimensionality=2,
    )
)
