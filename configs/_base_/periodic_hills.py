# Periodic hills: position and wall distance -> mean velocity of the direct numerical simulation.
# The box scales both axes alike and holds every one of the 29 geometries.

_base_ = ["default_runtime.py"]

batch_size = 1
enable_amp = True
amp_dtype = "bfloat16"
cuda_graph = True
max_iters = 4000
eval_every = 500

dataset_type = "PeriodicHillsDataset"
data_root = "data/periodic_hills"
_features = [
    dict(type="ScaleCoord", min=(0.0, -5.0), max=(14.0, 9.0), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord", "wall_distance"), num_bands=6),
    dict(type="CollectPoints", keys=("coord", "target", "name", "position"), feat_keys=("fourier",)),
]
data = dict(
    train=dict(
        type=dataset_type,
        split="train",
        data_root=data_root,
        fields=("wall_distance",),
        transform=[dict(type="SamplePoints", num_points=8192)] + _features,
    ),
    val=dict(type=dataset_type, split="val", data_root=data_root, fields=("wall_distance",), transform=_features),
    test=dict(
        type=dataset_type,
        split="test",
        data_root=data_root,
        fields=("wall_distance",),
        transform=_features,
        test_mode=True,
    ),
)

model = dict(
    type="DefaultRegressor",
    head=dict(type="RegressionHead", in_channels=64, out_channels=2),
    normalizer=dict(type="TargetNormalizer", channels=2),
    criteria=[dict(type="RelativeL2Loss")],
)

optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.01)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05)
