# EAGLE: state, kind of point, edges of the mesh -> change of the state to the next frame. Published with Erwin's code:
# AdamW, lr 8e-4, cosine to 1e-7, batches of 12, 200,000 iterations, state and change over the standard deviations
# below, MSE of the velocities plus a tenth of that of the pressures, no clipping. Not as published: single steps, there
# five unrolled ones and rollouts of 400 frames in the test.

_base_ = ["search.py"]

batch_size = 12
batch_size_val = 12
batch_size_test = 12
max_iters = 200000
eval_every = 5000

dataset_type = "EagleDataset"
data_root = "data/eagle"
_transform = [
    dict(type="ScaleField", key="state", mean=(-0.0015, 0.2211, -0.8322, 4.6050), std=(1.7970, 2.0258, 7.4013, 9.7232)),
    dict(type="AddGridCoord", grid_size=0.05),
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "grid_coord", "neighbor_index"),
        feat_keys=("state", "node_type"),
    ),
]
data = dict(
    train=dict(type=dataset_type, split="train", data_root=data_root, transform=_transform),
    val=dict(type=dataset_type, split="val", data_root=data_root, first=100, stride=100, transform=_transform),
    test=dict(
        type=dataset_type, split="test", data_root=data_root, first=100, stride=10, transform=_transform, test_mode=True
    ),
)

model = dict(
    backbone=dict(in_channels=13),
    type="DefaultRegressor",
    norm="cloud",  # in place of BatchNorm: statistics of each cloud alone; as published: "batch"
    head=dict(type="RegressionHead", in_channels=64, out_channels=4),
    normalizer=dict(type="TargetNormalizer", channels=4),
    criteria=[dict(type="WeightedMSELoss", channel_weights=(2.0, 2.0, 0.2, 0.2))],
)

optimizer = dict(type="AdamW", lr=8e-4, weight_decay=0.01)
scheduler = dict(type="CosineAnnealingLR", eta_min=1e-7)
