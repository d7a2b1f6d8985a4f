# Pipe: position -> velocity. Published with Erwin's code: AdamW, lr 5e-4, weight decay 1e-5, batches of 4, as many
# iterations as 2000 passes over 1000 flows take, 5% warm-up, cosine to 1e-7, gradients clipped at 1, relative L2 of the
# physical values, 128 x 128 points, the standardised positions below (box: mean -+ standard deviation). Not as
# published: the features, which there are cosines and sines of up to 2^31 pi times the first coordinate.

_base_ = ["search_bands.py"]

batch_size = 4
cuda_graph = True
max_iters = 500000
eval_every = 10000
clip_grad = 1.0

dataset_type = "PipeDataset"
data_root = "data/pipe"
_transform = [
    dict(type="ScaleCoord", min=(2.0742, -0.577), max=(7.8476, 0.561), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=6),
    dict(type="AddGridCoord", grid_size=0.02),  # about the distance of two points of the mesh
    dict(type="CollectPoints", keys=("coord", "target", "name", "position", "grid_coord"), feat_keys=("fourier",)),
]
data = dict(
    train=dict(
        type=dataset_type, split="train", data_root=data_root, protocol="1000/200 of 128 x 128", transform=_transform
    ),
    val=dict(
        type=dataset_type, split="val", data_root=data_root, protocol="1000/200 of 128 x 128", transform=_transform
    ),
    test=dict(
        type=dataset_type,
        split="test",
        data_root=data_root,
        protocol="1000/200 of 128 x 128",
        transform=_transform,
        test_mode=True,
    ),
)

model = dict(
    backbone=dict(in_channels=26),
    type="DefaultRegressor",
    norm="cloud",  # in place of BatchNorm: statistics of each cloud alone; as published: "batch"
    head=dict(type="RegressionHead", in_channels=64, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="RelativeL2Loss")],
)

optimizer = dict(type="AdamW", lr=5e-4, weight_decay=1e-5)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05, eta_min=1e-7)
