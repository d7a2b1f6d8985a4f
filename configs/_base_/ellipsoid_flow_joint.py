# Ellipsoid flow, joint: position, normal, whose a point is, distance to the body -> pressure coefficient on the body,
# velocity and pressure coefficient around it. Exact, generated. Losses are relative and of normalised values.

_base_ = ["recipe.py"]

seed = 0
batch_size = 4
num_worker = 1
cuda_graph = True
max_iters = 4000
eval_every = 1000
epoch = 32  # under Pointcept: 4096 iterations,
eval_epoch = 4  # evaluated every 1024

dataset_type = "EllipsoidFlowJointDataset"
_num_points = dict(surface=1024, volume=1024)
_transform = [
    dict(type="AddSurfaceDistance", surface="surface"),
    dict(type="OneHotDomain"),
    dict(type="FourierFeatures", keys=("coord", "distance"), num_bands=3),  # 28 features
    dict(type="AddGridCoord", grid_size=0.004),
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "grid_coord", "domain"),
        feat_keys=("fourier", "normal", "domain_one_hot"),
    ),
]
data = dict(
    train=dict(
        type=dataset_type, split="train", num_samples=512, num_points=_num_points, transform=_transform, cache=True
    ),
    val=dict(type=dataset_type, split="val", num_samples=32, num_points=_num_points, transform=_transform, cache=True),
    test=dict(
        type=dataset_type, split="test", num_samples=64, num_points=_num_points, transform=_transform, test_mode=True
    ),
)

model = dict(
    type="JointRegressor",
    domains=dict(
        surface=dict(
            head=dict(type="RegressionHead", in_channels=32, out_channels=1),
            criteria=[dict(type="RelativeL2Loss", physical=False)],
            weight=1.0,
        ),
        volume=dict(
            head=dict(type="RegressionHead", in_channels=32, out_channels=4),
            criteria=[dict(type="RelativeL2Loss", physical=False)],
            weight=1.0,
        ),
    ),
    normalizer=dict(type="TargetNormalizer", channels=5),
)
