# ShapeNet-Car, the 24 cars of protocol mini24: position and normal -> surface pressure. 12 cars to train on (14 less 2
# that validate), 10 to test; not to be compared with published numbers. The box scales the axes alike; a car and its
# mirror image are both trained on, as the flow is along the plane of the mirror.

_base_ = ["recipe.py"]

batch_size = 2
enable_amp = True
amp_dtype = "bfloat16"
cuda_graph = True
max_iters = 2000
eval_every = 200
epoch = 330  # under Pointcept: 1980 iterations,
eval_epoch = 10  # evaluated every 198

dataset_type = "ShapeNetCarDataset"
data_root = "data/shapenet_car_mini24"
_features = [
    dict(type="ScaleCoord", min=(-2.7, -1.9, -2.7), max=(2.7, 3.5, 2.7), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.018),  # 10% of the points share a cell; a cell touches 2 others
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier", "normal"),
    ),
]
data = dict(
    train=dict(
        type=dataset_type,
        split="train",
        data_root=data_root,
        protocol="mini24",
        with_face=False,
        with_normal=True,
        transform=[dict(type="RandomMirror", axis=0, vector_keys=("normal",))] + _features,
        cache=True,
    ),
    val=dict(
        type=dataset_type,
        split="val",
        data_root=data_root,
        protocol="mini24",
        with_face=False,
        with_normal=True,
        transform=_features,
        cache=True,
    ),
    test=dict(
        type=dataset_type,
        split="test",
        data_root=data_root,
        protocol="mini24",
        with_normal=True,
        transform=_features,
        test_mode=True,
    ),
)

model = dict(
    backbone=dict(in_channels=24),
    type="DefaultRegressor",
    head=dict(type="RegressionHead", in_channels=64, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="RelativeL2Loss")],
)
