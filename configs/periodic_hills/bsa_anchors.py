# Training on 2048 anchors and as many queries of a hill; validation and test predict all points from 2048 anchors.

_base_ = ["bsa.py"]

save_path = "exp/periodic_hills/bsa_anchors"

data = dict(
    train=dict(
        transform=[
            dict(type="SampleAnchors", num_anchors=2048, num_queries=2048),
            dict(type="ScaleCoord", min=(0.0, -5.0), max=(14.0, 9.0), to=(-1.0, 1.0)),
            dict(type="FourierFeatures", keys=("coord", "wall_distance"), num_bands=3),
            dict(type="CollectPoints", keys=("coord", "target", "name", "position"), feat_keys=("fourier",)),
        ]
    ),
    val=dict(test_cfg=dict(anchors=2048)),
    test=dict(test_cfg=dict(_delete_=True, anchors=2048)),
)
