# Training on 512 anchors of each domain and as many queries; validation and test predict all points from such anchors.

_base_ = ["bsa.py"]

save_path = "exp/ellipsoid_flow_joint/bsa_anchors"

_anchors = dict(surface=512, volume=512)
data = dict(
    train=dict(
        transform=[
            dict(type="AddSurfaceDistance", surface="surface"),
            dict(type="OneHotDomain"),
            dict(type="SampleAnchors", num_anchors=_anchors, num_queries=_anchors),
            dict(type="FourierFeatures", keys=("coord", "distance"), num_bands=3),
            dict(
                type="CollectPoints",
                keys=("coord", "target", "name", "domain"),
                feat_keys=("fourier", "normal", "domain_one_hot"),
            ),
        ]
    ),
    val=dict(test_cfg=dict(anchors=_anchors)),
    test=dict(test_cfg=dict(anchors=_anchors)),
)
