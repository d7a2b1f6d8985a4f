_base_ = ["../_base_/ellipsoid_flow_joint.py"]

save_path = "exp/ellipsoid_flow_joint/erwin"

model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        in_channels=33,
        channels=[32, 32],
        ball_sizes=[64, 64],
        enc_num_heads=[4, 4],
        enc_depths=[2, 2],
        dec_num_heads=[4],
        dec_depths=[2],
        strides=[2],
    )
)

search = {"model.norm": dict(choices=["cloud", "layer"])}
