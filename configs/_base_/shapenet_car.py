# ShapeNet-Car: position -> surface pressure. Everything but the backbone, the same for all of them.
# Box and scale of the positions as in the protocol of UPT and Erwin; AdamW, 100,000 iterations as in the BSA paper.
# Grid cells, for backbones that want them, are cubes of the scaled coordinates: 3.2 x 4.4 x 8.4 cm of the car.

_base_ = ["search.py"]

batch_size = 2
enable_amp = True
amp_dtype = "bfloat16"
cuda_graph = True
max_iters = 100000
eval_every = 2000
epoch = 306  # under Pointcept: 99,450 iterations of the 650 training cars of protocol A,
eval_epoch = 51  # evaluated every 1950

dataset_type = "ShapeNetCarDataset"
data_root = "data/shapenet_car"
_transform = [
    dict(type="ScaleCoord", min=(-2.0, -1.0, -4.5), max=(2.0, 4.5, 6.0)),
    dict(type="AddGridCoord", grid_size=0.008),  # 11% of the points share a cell; a cell touches 4 others
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
    head=dict(type="RegressionHead", in_channels=64, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="MSELoss")],
)

optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.01)
scheduler = dict(type="CosineAnnealingLR", eta_min=5e-5)
