# AirFRANS surface: position, speed, angle of attack and Reynolds number -> pressure coefficient. 120 to 158 points.
# The box scales both axes alike and holds every airfoil.

_base_ = ["recipe.py"]

batch_size = 8
max_iters = 10000
eval_every = 1000
cuda_graph = True
pad_clouds = 160  # slots: one shape, a multiple of every ball

dataset_type = "AirfRANSSurfaceDataset"
data_root = "data/airfrans"
_transform = [
    dict(type="ScaleCoord", min=(-0.1, -0.65), max=(1.1, 0.55), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.02),  # 22% of the points share a cell; a cell touches 1 other
    dict(
        type="CollectPoints", keys=("coord", "target", "name", "position", "grid_coord"), feat_keys=("fourier", "flow")
    ),
]
data = dict(
    train=dict(
        type=dataset_type, split="train", data_root=data_root, fields=("flow",), transform=_transform, cache=True
    ),
    val=dict(type=dataset_type, split="val", data_root=data_root, fields=("flow",), transform=_transform, cache=True),
    test=dict(
        type=dataset_type, split="test", data_root=data_root, fields=("flow",), transform=_transform, test_mode=True
    ),
)

model = dict(
    type="DefaultRegressor",
    head=dict(type="RegressionHead", in_channels=64, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="RelativeL2Loss")],
)
