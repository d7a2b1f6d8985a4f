_base_ = ["../_base_/nbody.py"]
save_path = "exp/nbody/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="BSA-v1m1",
        in_channels=3,
        channels=64,
        depth=12,
        num_heads=4,
        ball_size=256,
        block_size=8,
        topk=4,
        group_size=8,
    )
)
