# Cells as in configs/ellipsoid_flow/ptv3.py, and why they are so.

_base_ = ["../_base_/ellipsoid_flow_joint.py"]

save_path = "exp/ellipsoid_flow_joint/ptv3"
cuda_graph = False  # the number of pooled points depends on the points

model = dict(
    backbone=dict(
        type="PT-v3m1",
        in_channels=33,
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
