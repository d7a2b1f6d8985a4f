# The networks that many configs share; published.py and recipe.py give them their sizes, a data set its own changes.
# A config takes one by model = dict(backbone={{_base_._bsa}}); how many inputs there are its data set says.

_bsa = dict(type="BSA-v1m1", channels=64, ball_size=256, block_size=8, topk=4, group_size=8)
# What bsa_hierarchical.py adds (but of the small ellipsoids): levels of coarse tokens where a cloud has more than 8192
# slots, below which they save no time (docs/speed.md).
_levels = dict(near=2048, fan=8, levels_beyond=8192)
_full_attention = dict(type="FullAttention-v1m1", channels=64)
_erwin = dict(
    type="Erwin-v1m1",
    channels=[64, 64, 64],
    ball_sizes=[256, 256, 256],
    enc_num_heads=[4, 4, 4],
    enc_depths=[2, 2, 4],
    dec_num_heads=[4, 4],
    dec_depths=[2, 2],
    strides=[2, 2],
)
_erwin_nsa = dict(
    type="ErwinNSA-v1m1", channels=64, num_kv_heads=1, local_ball_size=256, compressed_ball_size=32, num_selected=16
)

# Point Transformer V3 (Wu et al. 2024) with four levels, at about the size of BSA, and with three. For regression as
# the other networks are trained and tested: nothing dropped, curves in a fixed order. Pointcept's own PT-v3m1 does not
# tell its width, so configs give it to the head.
_ptv3 = dict(
    type="PT-v3m1",
    order=("z", "z-trans"),
    stride=(2, 2, 2),
    enc_depths=(2, 2, 2, 2),
    enc_channels=(32, 64, 64, 64),
    enc_num_head=(2, 4, 4, 4),
    enc_patch_size=(256, 256, 256, 256),
    dec_depths=(2, 1, 1),
    dec_channels=(64, 64, 64),
    dec_num_head=(4, 4, 4),
    dec_patch_size=(256, 256, 256),
    drop_path=0.0,
    shuffle_orders=False,
)
_ptv3_small = dict(
    _ptv3,
    stride=(2, 2),
    enc_depths=(2, 2, 2),
    enc_channels=(32, 64, 64),
    enc_num_head=(2, 4, 4),
    enc_patch_size=(64, 64, 64),
    dec_depths=(2, 1),
    dec_channels=(64, 64),
    dec_num_head=(4, 4),
    dec_patch_size=(64, 64),
)
