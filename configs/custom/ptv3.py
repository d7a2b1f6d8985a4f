_base_ = ["../_base_/custom.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="PT-v3m1",
        in_channels=21,
        order=("z", "z-trans"),
        stride=(2, 2),
        enc_depths=(2, 2, 2),
        enc_channels=(32, 64, 64),
        enc_num_head=(2, 4, 4),
        enc_patch_size=(64, 64, 64),
        dec_depths=(2, 1),
        dec_channels=(64, 64),
        dec_num_head=(4, 4),
        dec_patch_size=(64, 64),
        drop_path=0.0,
        shuffle_orders=False,
    )
)
search = {"model.norm": dict(choices=["cloud", "layer"])}
