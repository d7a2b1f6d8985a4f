_base_ = ["../_base_/beams.py"]
save_path = "exp/beams/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        in_channels=23,
        channels=[64, 64, 64],
        ball_sizes=[64, 32, 16],
        enc_num_heads=[4, 4, 4],
        enc_depths=[2, 2, 2],
        dec_num_heads=[4, 4],
        dec_depths=[1, 1],
        strides=[2, 2],
    )
)
search = {"model.norm": dict(choices=["cloud", "layer"])}
