# Erwin in the setting of its paper (Zhdanov et al. 2025): the small network. The published model embeds velocities and
# kinds in 16 channels by a linear map and adds another one at once; one map does the same here. Without its 33 more
# input channels the network has the published 4,762,332 parameters.

_base_ = ["../_base_/md.py"]
save_path = "exp/md/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="Erwin-v1m1",
        channels=[16, 32, 64, 128, 256],
        ball_sizes=[128, 128, 128, 64, 32],
        enc_num_heads=[2, 4, 8, 16, 32],
        enc_depths=[2, 2, 2, 6, 2],
        dec_num_heads=[4, 4, 8, 16],
        dec_depths=[2, 2, 2, 2],
        strides=[2, 2, 2, 2],
        rotate=45,
        mp_steps=3,
    )
)
