_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="Transolver-v1m1", in_channels=24, channels=64, depth=4, num_slices=32, out_channels=32)
)
search = {"model.backbone.num_slices": dict(choices=[32, 64])}
