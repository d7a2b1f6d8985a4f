# bsa.py with the global parameters as conditions of every block, in place of features that each point repeats.

_base_ = ["bsa.py"]

save_path = "exp/ventricle/bsa_conditioned"

_transform = [
    dict(type="ScaleCoord", min=(-4.0, -4.0, -8.0), max=(4.0, 4.0, 0.0), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.03),
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier", "node_features"),
        parameter_keys=("material",),
    ),
]
data = dict(train=dict(transform=_transform), val=dict(transform=_transform), test=dict(transform=_transform))

model = dict(backbone=dict(in_channels=31, condition=4))
