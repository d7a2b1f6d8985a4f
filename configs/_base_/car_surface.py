# Surfaces of simulated cars: position -> pressure and wall shear. 16,384 points of a car drawn anew every time;
# validation on as many fixed ones; test on 262,144, predicted in pieces of the size of training. Everything but the
# backbone and the data, the same for all sets. Positions come scaled to a box around all cars.

_base_ = ["car_sets.py", "regression.py"]

_points = 16384
_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),  # 7 features an axis
    dict(type="AddGridCoord", grid_size=0.02),  # of the box, whose side is 2
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier", "normal")),
]
_set = dict(domain="surface", fields=("normal",), num_points=_points, transform=_transform)
data = dict(train=_set, val=_set, test=dict(_set, num_points=16 * _points, test_cfg=dict(piece_points="training")))

model = dict(
    backbone=dict(in_channels=24),
    head=dict(out_channels=4),
    criteria=[dict(type="RelativeL2Loss", physical=False)],  # several fields, each in its own spread
)
