# The points are random: with cells of the spacing of the points the convolutions read whichever neighbours happen to be
# there, and a network of this size does not get rid of that noise. So the first level has cells so fine that each point
# is alone (its convolutions become linear maps), and attention over the whole cloud; the second has cells 32 times
# coarser (0.128), 260 of them, where the convolutions find 8 neighbours.

_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(
    backbone=dict(
        type="PT-v3m1",
        in_channels=24,
        order=("z", "z-trans"),
        stride=(32,),
        enc_depths=(1, 1),
        enc_channels=(32, 32),
        enc_num_head=(4, 4),
        enc_patch_size=(512, 512),
        dec_depths=(2,),
        dec_channels=(32,),
        dec_num_head=(4,),
        dec_patch_size=(512,),
        drop_path=0.0,
        shuffle_orders=False,
    )
)
search = {"model.norm": dict(choices=["cloud", "layer"])}
