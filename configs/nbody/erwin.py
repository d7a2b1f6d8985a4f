_base_ = ["../_base_/nbody.py"]
save_path = "exp/nbody/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        in_channels=3,
        channels=[64, 64, 64],
        ball_sizes=[256, 256, 256],
        enc_num_heads=[4, 4, 4],
        enc_depths=[2, 2, 4],
        dec_num_heads=[4, 4],
        dec_depths=[2, 2],
        strides=[2, 2],
    )
)
