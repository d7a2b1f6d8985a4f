_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ABUPT-v1m1",
        out_channels=32,
        channels=32,
        num_supernodes=128,
        num_anchors=128,
        radius=0.4,
        position_scale=10.0,
    )
)
