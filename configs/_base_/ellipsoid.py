# The sizes of the networks on ellipsoids: small enough for a laptop.

_base_ = ["recipe.py"]

seed = 0
batch_size = 4
num_worker = 1
cuda_graph = True

_bsa = dict(channels=32, depth=4, ball_size=64)
_full_attention = dict(channels=32, depth=4)
_erwin = dict(
    channels=[32, 32],
    ball_sizes=[64, 64],
    enc_num_heads=[4, 4],
    enc_depths=[2, 2],
    dec_num_heads=[4],
    dec_depths=[2],
    strides=[2],
)
_erwin_nsa = dict(channels=32, depth=4, local_ball_size=64, compressed_ball_size=16, num_selected=4)
# The points are random: with cells of the spacing of the points the convolutions read whichever neighbours happen to be
# there, and a network of this size does not get rid of that noise. So the first level has cells so fine that each point
# is alone (its convolutions become linear maps), and attention over the whole cloud; the second has cells 32 times
# coarser (0.128), 260 of them, where the convolutions find 8 neighbours.
_ptv3 = dict(
    stride=(32,),
    enc_depths=(1, 1),
    enc_channels=(32, 32),
    enc_num_head=(4, 4),
    enc_patch_size=(512, 512),
    dec_depths=(2,),
    dec_channels=(32,),
    dec_num_head=(4,),
    dec_patch_size=(512,),
)
