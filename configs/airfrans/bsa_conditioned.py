# bsa.py with the global parameters as conditions of every block, in place of features that each point repeats.

_base_ = ["bsa.py"]

save_path = "exp/airfrans/bsa_conditioned"

_transform = [
    dict(type="ScaleCoord", min=(-0.1, -0.65), max=(1.1, 0.55), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.02),
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier",),
        parameter_keys=("flow",),
    ),
]
data = dict(train=dict(transform=_transform), val=dict(transform=_transform), test=dict(transform=_transform))

model = dict(backbone=dict(in_channels=14, condition=3))
