# Training on 2048 anchors of a car, its other points as queries; validation and test predict all points from anchors.

_base_ = ["bsa.py"]

save_path = "exp/shapenet_car_mini24/bsa_anchors"

data = dict(
    train=dict(
        transform=[
            dict(type="RandomMirror", axis=0, vector_keys=("normal",)),
            dict(type="SampleAnchors", num_anchors=2048),
            dict(type="ScaleCoord", min=(-2.7, -1.9, -2.7), max=(2.7, 3.5, 2.7), to=(-1.0, 1.0)),
            dict(type="FourierFeatures", keys=("coord",), num_bands=3),
            dict(type="CollectPoints", keys=("coord", "target", "name", "position"), feat_keys=("fourier", "normal")),
        ]
    ),
    val=dict(test_cfg=dict(anchors=2048)),
    test=dict(test_cfg=dict(anchors=2048)),
)
