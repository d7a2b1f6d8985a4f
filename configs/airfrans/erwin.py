_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        in_channels=17,
        channels=[64, 64, 64],
        ball_sizes=[32, 16, 8],
        enc_num_heads=[4, 4, 4],
        enc_depths=[2, 2, 2],
        dec_num_heads=[4, 4],
        dec_depths=[1, 1],
        strides=[2, 2],
        dimensionality=2,
    )
)
search = {"model.norm": dict(choices=["cloud", "layer"])}
