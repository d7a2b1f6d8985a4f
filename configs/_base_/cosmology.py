# Cosmology: position of halos -> velocity. Everything but the backbone, the same for all of them: AdamW, batches of 16,
# loss and standardised positions as in the published Erwin code; 5000 iterations.
# The box is mean -+ standard deviation of the positions, the published constants.

_base_ = ["search.py"]

batch_size = 16
enable_amp = True
amp_dtype = "bfloat16"
cuda_graph = True
max_iters = 5000
eval_every = 500

dataset_type = "CosmologyDataset"
data_root = "data/cosmology"
_transform = [
    dict(
        type="ScaleCoord",
        min=(211.20784542774996, 211.34219843799778, 211.2621597252692),
        max=(788.6296960904237, 788.8473620743824, 788.6668576033868),
        to=(-1.0, 1.0),
    ),
    dict(type="AddGridCoord", grid_size=0.1),  # 5000 points spread evenly: 11% share a cell, a cell touches 3 others
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
    criteria=[dict(type="MSELoss")],
)

optimizer = dict(type="AdamW", lr=5e-4, weight_decay=0.01)
scheduler = dict(type="CosineAnnealingLR", eta_min=1e-6)
