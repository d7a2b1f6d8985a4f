_base_ = ["../_base_/ellipsoid_flow_65536.py"]

save_path = "exp/ellipsoid_flow_65536/erwin"

model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        in_channels=24,
        channels=[32, 32],
        ball_sizes=[256, 256],
        enc_num_heads=[4, 4],
        enc_depths=[2, 2],
        dec_num_heads=[4],
        dec_depths=[2],
        strides=[2],
    )
)
