# BSA with the network of its paper (Brita et al. 2025), which has no cosmology.

_base_ = ["../_base_/cosmology.py"]
save_path = "exp/cosmology/{{fileBasenameNoExtension}}"
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
