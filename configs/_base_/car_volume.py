# The air around simulated cars: position -> velocity and pressure. As car_surface.py, but for the frequency bands, of
# which there are more, as the box around the air is many times that around the cars. Not tuned.

_base_ = ["car_surface.py"]

_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=6),  # 13 features an axis
    dict(type="AddGridCoord", grid_size=0.02),
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier",)),
]
_set = dict(domain="volume", fields=(), transform=_transform)
data = dict(train=_set, val=_set, test=_set)

model = dict(backbone=dict(in_channels=39))
