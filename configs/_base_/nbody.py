# N-body box: position in the sub-box -> velocity. 506 to 20,815 points, all of them: fewer would be another density.
# Grid cells, for backbones that want them: matter is so clustered that no size fits all of it. In cells of 0.16 Mpc/h
# half of the points share a cell and a cell touches 3 others.

_base_ = ["search.py"]

batch_size = 1
enable_amp = True
amp_dtype = "bfloat16"
max_iters = 4000
eval_every = 500
cuda_graph = True
pad_clouds = 2048  # slots: 11 shapes, a multiple of every ball

dataset_type = "NBodyBoxDataset"
data_root = "data/nbody"
_transform = [
    dict(type="ScaleCoord", min=(0.0, 0.0, 0.0), max=(8.0, 8.0, 8.0), to=(-1.0, 1.0)),
    dict(type="AddGridCoord", grid_size=0.04),
    dict(type="CollectPoints", keys=("coord", "target", "name", "position", "grid_coord"), feat_keys=("coord",)),
]
data = dict(
    train=dict(type=dataset_type, split="train", data_root=data_root, transform=_transform, cache=True),
    val=dict(type=dataset_type, split="val", data_root=data_root, transform=_transform, cache=True),
    test=dict(type=dataset_type, split="test", data_root=data_root, transform=_transform, test_mode=True),
)

model = dict(
    backbone=dict(in_channels=3),
    type="DefaultRegressor",
    norm="cloud",  # in place of BatchNorm: statistics of each cloud alone; as published: "batch"
    head=dict(type="RegressionHead", in_channels=64, out_channels=3),
    normalizer=dict(type="TargetNormalizer", channels=3),
    criteria=[dict(type="RelativeL2Loss")],
)

optimizer = dict(type="Muon", lr=2e-3, weight_decay=0.01)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05)
