# Erwin with pooling between its levels, balls of a few cells up to the room. Not tuned.

_base_ = ["../_base_/scannet.py"]
save_path = "exp/scannet/{{fileBasenameNoExtension}}"
model = dict(
    backbone_out_channels=64,
    backbone=dict(
        type="Erwin-v1m1",
        in_channels=9,
        channels=[64, 128, 256],
        ball_sizes=[256, 256, 256],
        enc_num_heads=[4, 8, 16],
        enc_depths=[2, 2, 6],
        dec_num_heads=[4, 8],
        dec_depths=[2, 2],
        strides=[4, 4],
        rotate=45,
        mp_steps=1,
        num_neighbors=8,
    ),
)
