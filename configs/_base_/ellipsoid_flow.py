# Ellipsoid flow: position and normal -> pressure coefficient. Exact, generated, small enough for a laptop.

_base_ = ["recipe.py"]

seed = 0
batch_size = 4
num_worker = 1
cuda_graph = True
max_iters = 400
eval_every = 100
epoch = 3  # under Pointcept: 384 iterations,
eval_epoch = 3  # evaluated every 128

dataset_type = "EllipsoidFlowDataset"
_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.004),  # every point has a cell of its own, see ptv3.py
    dict(type="CollectPoints", keys=("coord", "target", "name", "grid_coord"), feat_keys=("fourier", "normal")),
]
data = dict(
    train=dict(type=dataset_type, split="train", num_samples=512, num_points=512, transform=_transform, cache=True),
    val=dict(type=dataset_type, split="val", num_samples=32, num_points=512, transform=_transform, cache=True),
    test=dict(
        type=dataset_type,
        split="test",
        num_samples=64,
        num_points=512,
        with_face=True,
        transform=_transform,
        test_mode=True,
    ),
)

model = dict(
    type="DefaultRegressor",
    head=dict(type="RegressionHead", in_channels=32, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="RelativeL2Loss")],
)
