# Your own data, prepared by: python tools/prepare_data.py custom --src <your files> --dst data/custom --target <field>
# Here: three dimensions, one target, no input but the position. What to change for other data:
#   target of K numbers   model.head.out_channels = model.normalizer.channels = K
#   two dimensions        backbone.in_channels = 14 and dimensionality = 2 (PT-v3m1 has no dimensionality)
#   further fields        name them in feat_keys beside "fourier" and add their columns to backbone.in_channels
# The files may also be read as they are: data_root is their folder, and each of data.train, data.val and data.test gets
# target=("<field>",) and, if wanted, fields, fractions, seed, ...

_base_ = ["recipe.py"]

batch_size = 2
max_iters = 20000
eval_every = 1000

dataset_type = "PointFieldDataset"
data_root = "data/custom"
_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),  # 7 features an axis
    dict(type="AddGridCoord", grid_size=0.02),  # of the box, whose side is 2
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier",),
    ),
]
data = dict(
    train=dict(
        type=dataset_type,
        split="train",
        data_root=data_root,
        scale_to_box=True,
        transform=_transform,
    ),
    val=dict(
        type=dataset_type,
        split="val",
        data_root=data_root,
        scale_to_box=True,
        transform=_transform,
    ),
    test=dict(
        type=dataset_type,
        split="test",
        data_root=data_root,
        scale_to_box=True,
        transform=_transform,
        test_mode=True,
    ),
)

model = dict(
    type="DefaultRegressor",
    head=dict(type="RegressionHead", in_channels=64, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="RelativeL2Loss")],
)
