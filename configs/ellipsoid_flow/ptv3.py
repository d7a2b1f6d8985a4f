_base_ = ["../_base_/ellipsoid_flow.py"]

save_path = "exp/ellipsoid_flow/ptv3"
cuda_graph = False  # the number of pooled points depends on the points

model = dict(
    backbone=dict(
        type="PT-v3m1",
        in_channels=24,
        order=("z", "z-trans"),
        stride=(2, 2),
        enc_depths=(1, 1, 1),
        enc_channels=(16, 32, 32),
        enc_num_head=(2, 4, 4),
        enc_patch_size=(64, 64, 64),
        dec_depths=(1, 1),
        dec_channels=(32, 32),
        dec_num_head=(4, 4),
        dec_patch_size=(64, 64),
        drop_path=0.0,
        shuffle_orders=False,
    )
)
