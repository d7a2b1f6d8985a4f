# Surface and air of simulated cars in one cloud: position, normal, whose a point is, distance to the car -> pressure
# and wall shear on the car, velocity and pressure around it. 8192 points of each drawn anew every time, distances to
# 32,768 of the surface; test on 131,072 of each, predicted in pieces of the size of training. Not tuned.

_base_ = ["car_sets.py", "joint.py"]

_points = 8192
_keys = ("coord", "target", "name", "position", "grid_coord", "domain")
_distance = dict(type="AddSurfaceDistance", surface="surface")
_draw = dict(type="SampleDomainPoints", num_points=dict(surface=_points), first=True)  # rows are in random order
_features = [
    dict(type="OneHotDomain"),
    dict(type="FourierFeatures", keys=("coord", "distance"), num_bands=6),  # 52 features; see car_volume.py
    dict(type="AddGridCoord", grid_size=0.02),
    dict(type="CollectPoints", keys=_keys, feat_keys=("fourier", "normal", "domain_one_hot")),
]
_surface = dict(domain="surface", fields=("normal",), num_points=4 * _points)
_volume = dict(domain="volume", num_points=_points)
_many = dict(num_points=16 * _points)
_set = dict(type="JoinedDataset", box="volume")
_drawn = dict(_set, parts=dict(surface=_surface, volume=_volume), transform=[_distance, _draw, *_features])
data = dict(
    train=_drawn,
    val=_drawn,
    test=dict(
        _set,
        parts=dict(surface=_surface | _many, volume=_volume | _many),
        transform=[_distance, *_features],
        test_cfg=dict(piece_points="training"),
    ),
)

model = dict(
    backbone=dict(in_channels=57),
    domains=dict(surface=dict(head=dict(out_channels=4)), volume=dict(head=dict(out_channels=4))),
)
