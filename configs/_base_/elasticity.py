# Elasticity: position -> stress. Everything but the backbone, the same for all of them: AdamW, batches of 2, as many
# iterations as 1500 passes over 1000 meshes take, 5% warm-up, gradients clipped, loss and standardised positions as in
# the published Erwin code. The box is mean -+ standard deviation of the positions, the published constants.

_base_ = ["search.py"]

batch_size = 2
cuda_graph = True
max_iters = 750000
eval_every = 10000
clip_grad = 1.0

dataset_type = "ElasticityDataset"
data_root = "data/elasticity"
_transform = [
    dict(type="ScaleCoord", min=(0.1781, 0.1787), max=(0.8215, 0.8219), to=(-1.0, 1.0)),
    dict(type="AddGridCoord", grid_size=0.06),  # 972 points spread evenly: 30% share a cell, a cell touches 2 others
    dict(type="CollectPoints", keys=("coord", "target", "name", "position", "grid_coord"), feat_keys=("coord",)),
]
data = dict(
    train=dict(type=dataset_type, split="train", data_root=data_root, transform=_transform, cache=True),
    val=dict(type=dataset_type, split="val", data_root=data_root, transform=_transform, cache=True),
    test=dict(type=dataset_type, split="test", data_root=data_root, transform=_transform, test_mode=True),
)

model = dict(
    backbone=dict(in_channels=2),
    type="DefaultRegressor",
    norm="cloud",  # in place of BatchNorm: statistics of each cloud alone; as published: "batch"
    head=dict(type="RegressionHead", in_channels=64, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="RelativeL2Loss")],
)

optimizer = dict(type="AdamW", lr=1e-3, weight_decay=1e-5)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05, eta_min=1e-7)
