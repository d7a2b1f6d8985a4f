# BSA on scenes of a hundred thousand points: coarse queries too, for attention over whole rooms. Not tuned.

_base_ = ["../_base_/scannet.py"]
save_path = "exp/scannet/{{fileBasenameNoExtension}}"
model = dict(
    backbone_out_channels=128,
    backbone=dict(
        type="BSA-v1m1",
        in_channels=9,
        channels=128,
        depth=12,
        num_heads=8,
        ball_size=256,
        block_size=8,
        topk=4,
        group_size=8,
        group_compression=True,
    ),
)
