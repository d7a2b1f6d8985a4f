# BSA with the network of its paper (Brita et al. 2025), which has no molecular dynamics; balls as Erwin has them here.

_base_ = ["../_base_/md.py"]
save_path = "exp/md/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="BSA-v1m1",
        in_channels=49,
        channels=64,
        depth=18,
        num_heads=8,
        ball_size=128,
        block_size=8,
        topk=4,
        group_size=8,
    )
)
