# Plasticity: position, die and time -> position and displacement. Published with Erwin's code: AdamW, lr 5e-4, weight
# decay 1e-5, batches of 8, as many iterations as 10,000 passes over 900 blocks take at one time each, 5% warm-up,
# cosine to 1e-7, gradients clipped at 1, relative L2 of the physical values, the standardised die below. Not as
# published: the embedding of the time, here Fourier features as those of position and die.

_base_ = ["search_bands.py"]

batch_size = 8
cuda_graph = True
max_iters = 1125000
eval_every = 10000
clip_grad = 1.0

dataset_type = "PlasticityDataset"
data_root = "data/plasticity"
_transform = [
    dict(type="ScaleField", key="die", mean=(19.6351,), std=(2.3652,)),
    dict(type="FourierFeatures", keys=("coord", "die", "time"), num_bands=4),
    dict(type="AddGridCoord", grid_size=0.03),  # between the distances along (0.01) and across the block (0.033)
    dict(type="CollectPoints", keys=("coord", "target", "name", "grid_coord"), feat_keys=("fourier",)),
]
data = dict(
    train=dict(type=dataset_type, split="train", data_root=data_root, transform=_transform),
    val=dict(type=dataset_type, split="val", data_root=data_root, transform=_transform),
    test=dict(type=dataset_type, split="test", data_root=data_root, transform=_transform, test_mode=True),
)

model = dict(
    backbone=dict(in_channels=36),
    type="DefaultRegressor",
    norm="cloud",  # in place of BatchNorm: statistics of each cloud alone; as published: "batch"
    head=dict(type="RegressionHead", in_channels=64, out_channels=4),
    normalizer=dict(type="TargetNormalizer", channels=4),
    criteria=[dict(type="RelativeL2Loss")],
)

optimizer = dict(type="AdamW", lr=5e-4, weight_decay=1e-5)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05, eta_min=1e-7)
