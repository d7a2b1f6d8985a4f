# BSA in the setting of the paper (Brita et al. 2025, tables 3 and 4).

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="BSA-v1m1",
        in_channels=3,
        channels=64,
        depth=18,
        num_heads=8,
        ball_size=256,
        block_size=8,
        topk=4,
        group_size=8,
    )
)
