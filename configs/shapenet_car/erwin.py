# Erwin in the setting of its paper (Zhdanov et al. 2025): the small network.

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        in_channels=3,
        channels=[64, 64],
        ball_sizes=[256, 256],
        enc_num_heads=[8, 8],
        enc_depths=[6, 6],
        dec_num_heads=[8],
        dec_depths=[6],
        strides=[1],
        rotate=45,
        mp_steps=3,
        num_neighbors=8,
    )
)
