# Airfoil: position -> Mach number. Published with Erwin's code: AdamW, lr 1e-3, weight decay 1e-5, batches of 8, as
# many iterations as 8000 passes over 1000 flows take, 5% warm-up, cosine to 1e-7, gradients clipped at 1, relative L2
# of the physical values, the standardised positions below (box: mean -+ standard deviation). Not as published: the
# features, which there are cos(2^k pi x), k = 0 .. 63, of the first coordinate alone.

_base_ = ["search_bands.py"]

batch_size = 8
cuda_graph = True
max_iters = 1000000
eval_every = 10000
clip_grad = 1.0

dataset_type = "AirfoilDataset"
data_root = "data/airfoil"
_transform = [
    dict(type="ScaleCoord", min=(-5.1682, -6.07735767), max=(8.1532, 6.07804233), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=6),
    dict(type="AddGridCoord", grid_size=0.02),  # the mesh is far finer at the airfoil: many points share a cell there
    dict(type="CollectPoints", keys=("coord", "target", "name", "position", "grid_coord"), feat_keys=("fourier",)),
]
data = dict(
    train=dict(type=dataset_type, split="train", data_root=data_root, transform=_transform),
    val=dict(type=dataset_type, split="val", data_root=data_root, transform=_transform),
    test=dict(type=dataset_type, split="test", data_root=data_root, transform=_transform, test_mode=True),
)

model = dict(
    backbone=dict(in_channels=26),
    type="DefaultRegressor",
    norm="cloud",  # in place of BatchNorm: statistics of each cloud alone; as published: "batch"
    head=dict(type="RegressionHead", in_channels=64, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="RelativeL2Loss")],
)

optimizer = dict(type="AdamW", lr=1e-3, weight_decay=1e-5)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05, eta_min=1e-7)
