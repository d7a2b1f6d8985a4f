# Your own data, prepared by: python tools/prepare_data.py custom --src <your files> --dst data/custom --target <field>
# which writes configs that fit the data beside them: python tools/train.py --config data/custom/bsa.py
# Here: three dimensions, one target, no input but the position. The numbers that such a config sets are in_channels and
# dimensionality of the backbone, out_channels of the head, num_bands, feat_keys, batch.
# The files may also be read as they are: data_root is their folder, and each of data.train, data.val and data.test gets
# target=("<field>",) and, if wanted, fields, fractions, seed, ...

_base_ = ["recipe.py", "regression.py"]

batch_size = 2
max_iters = 20000
eval_every = 1000

dataset_type = "CustomFieldDataset"
data_root = "data/custom"
_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),  # 7 features an axis
    dict(type="AddGridCoord", grid_size=0.02),  # of the box, whose side is 2
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier",)),
]
_set = dict(type=dataset_type, data_root=data_root, scale_to_box=True, transform=_transform)
data = dict(train=_set, val=_set, test=_set)

_erwin = dict(ball_sizes=[256, 128, 64], enc_depths=[2, 2, 2], dec_depths=[1, 1])
_erwin_nsa = dict(compressed_ball_size=16, num_selected=4)
model = dict(backbone=dict(in_channels=21), head=dict(out_channels=1))
