# Your own data, prepared by: python tools/prepare_data.py custom --src <your files> --dst data/custom --target <field>
# which writes configs that fit the data beside them: python tools/train.py --config data/custom/bsa.py
# Here: three dimensions, one target, no input but the position. The numbers that such a config sets are in_channels and
# dimensionality of the backbone, out_channels of the head, channels of the normalizer, num_bands, feat_keys, batch.
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
    dict(type="CollectPoints", keys=("coord", "target", "name", "position", "grid_coord"), feat_keys=("fourier",)),
]
data = dict(
    train=dict(type=dataset_type, split="train", data_root=data_root, scale_to_box=True, transform=_transform),
    val=dict(type=dataset_type, split="val", data_root=data_root, scale_to_box=True, transform=_transform),
    test=dict(
        type=dataset_type, split="test", data_root=data_root, scale_to_box=True, transform=_transform, test_mode=True
    ),
)

model = dict(
    type="DefaultRegressor",
    head=dict(type="RegressionHead", in_channels=64, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1),
    criteria=[dict(type="RelativeL2Loss")],
)
