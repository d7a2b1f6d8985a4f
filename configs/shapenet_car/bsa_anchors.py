# Training on 2048 anchors of a car, its other points as queries; validation and test predict all points from anchors.

_base_ = ["bsa.py"]

save_path = "exp/shapenet_car/bsa_anchors"

data = dict(
    train=dict(
        transform=[
            dict(type="SampleAnchors", num_anchors=2048),
            dict(type="ScaleCoord", min=(-2.0, -1.0, -4.5), max=(2.0, 4.5, 6.0)),
            dict(type="CollectPoints", keys=("coord", "target", "name", "position"), feat_keys=("coord",)),
        ]
    ),
    val=dict(test_cfg=dict(anchors=2048)),
    test=dict(test_cfg=dict(anchors=2048)),
)
