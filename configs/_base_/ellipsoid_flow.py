# Ellipsoid flow: position and normal -> pressure coefficient. Exact, generated, small enough for a laptop.

_base_ = ["ellipsoid.py", "regression.py"]

max_iters = 400
eval_every = 100
epoch = 3  # under Pointcept: 384 iterations,
eval_epoch = 3  # evaluated every 128

dataset_type = "EllipsoidFlowDataset"
_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.004),  # every point has a cell of its own, see ellipsoid.py
    dict(type="CollectPoints", keys=("coord", "target", "name", "grid_coord"), feat_keys=("fourier", "normal")),
]
_set = dict(type=dataset_type, num_points=512, transform=_transform)
data = dict(
    train=dict(_set, num_samples=512, cache=True),
    val=dict(_set, num_samples=32, cache=True),
    test=dict(_set, num_samples=64, with_face=True),
)

_bsa = dict(ball_size=512)  # a whole ellipsoid: .018 for .021 in validation with balls of 64
model = dict(backbone=dict(in_channels=24), head=dict(out_channels=1))
