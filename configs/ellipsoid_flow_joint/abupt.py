_base_ = ["../_base_/ellipsoid_flow_joint.py"]
save_path = "exp/ellipsoid_flow_joint/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ABUPTJoint-v1m1",
        out_channels=32,
        channels=32,
        num_supernodes=128,
        num_anchors=128,
        blocks="scsc",
        domain_depth=2,
        radius=0.4,
        position_scale=10.0,
    )
)
