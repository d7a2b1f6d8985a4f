# Left ventricle: position, fibres and material -> displacement. Eleven simulations to train on.
# The box scales the three axes alike.

_base_ = ["recipe.py"]

batch_size = 1
enable_amp = True
amp_dtype = "bfloat16"
cuda_graph = True
max_iters = 4000
eval_every = 500

dataset_type = "VentricleDataset"
data_root = "data/ventricle"
_transform = [
    dict(type="ScaleCoord", min=(-4.0, -4.0, -8.0), max=(4.0, 4.0, 0.0), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.03),  # 20% of the points share a cell; a cell touches 4 others
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier", "node_features", "material"),
    ),
]
data = dict(
    train=dict(
        type=dataset_type,
        split="train",
        data_root=data_root,
        fields=("node_features", "material"),
        transform=_transform,
        cache=True,
    ),
    val=dict(
        type=dataset_type,
        split="val",
        data_root=data_root,
        fields=("node_features", "material"),
        transform=_transform,
        cache=True,
    ),
    test=dict(
        type=dataset_type,
        split="test",
        data_root=data_root,
        fields=("node_features", "material"),
        transform=_transform,
        test_mode=True,
    ),
)

model = dict(
    backbone=dict(in_channels=35),
    type="DefaultRegressor",
    head=dict(type="RegressionHead", in_channels=64, out_channels=3),
    normalizer=dict(type="TargetNormalizer", channels=3),
    criteria=[dict(type="RelativeL2Loss")],
)
