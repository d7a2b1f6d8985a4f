# Erwin in the setting of its paper (Zhdanov et al. 2025): the small network.

_base_ = ["../_base_/cosmology.py"]
save_path = "exp/cosmology/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        channels=[32, 64, 128, 256],
        ball_sizes=[256, 256, 256, 256],
        enc_num_heads=[2, 4, 8, 16],
        enc_depths=[2, 2, 6, 2],
        dec_num_heads=[2, 4, 8],
        dec_depths=[2, 2, 2],
        strides=[2, 2, 2],
        rotate=45,
        mp_steps=3,
        num_neighbors=10,
    )
)
