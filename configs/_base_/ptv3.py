# Point Transformer V3 with four levels, for regression: nothing dropped, curves in a fixed order.

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
