_base_ = ["../_base_/shapenet_car_mini24.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        in_channels=24,
        channels=[64, 64],
        ball_sizes=[256, 256],
        enc_num_heads=[8, 8],
        enc_depths=[4, 4],
        dec_num_heads=[8],
        dec_depths=[4],
        strides=[2],
        rotate=45,
        mp_steps=3,
        num_neighbors=8,
    )
)
search = {"model.norm": dict(choices=["cloud", "layer"])}
