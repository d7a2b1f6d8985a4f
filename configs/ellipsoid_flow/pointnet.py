_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="PointNet-v1m1", point_channels=(32, 32), cloud_channels=(32, 64, 256), channels=(256, 128, 32))
)
