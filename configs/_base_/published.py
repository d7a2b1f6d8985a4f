# Networks in the sizes of their papers, for data with a published protocol.

_base_ = ["search.py", "networks.py", "regression.py"]

_bsa = _full_attention = dict(depth=18, num_heads=8)  # Brita et al. 2025, tables 3 and 4
_erwin = dict(  # Zhdanov et al. 2025: the small network
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
_erwin_nsa = dict(depth=6, num_heads=16, local_ball_size=128, num_neighbors=8)  # Lapautre et al. 2025, table 3
