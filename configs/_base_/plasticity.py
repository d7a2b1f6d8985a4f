# Plasticity: position, die and time -> position and displacement. Published: lr 5e-4, batches of 8, as many iterations
# as 10,000 passes over 900 blocks take at one time each, the standardised die below. Not as published: the embedding of
# the time, here Fourier features as those of position and die.

_base_ = ["published_meshes.py"]

batch_size = 8
max_iters = 1125000

dataset_type = "PlasticityDataset"
data_root = "data/plasticity"
_transform = [
    dict(type="ScaleField", key="die", mean=(19.6351,), std=(2.3652,)),
    dict(type="FourierFeatures", keys=("coord", "die", "time"), num_bands=4),
    dict(type="AddGridCoord", grid_size=0.03),  # between the distances along (0.01) and across the block (0.033)
    dict(type="CollectPoints", keys=("coord", "target", "name", "grid_coord"), feat_keys=("fourier",)),
]
_set = dict(type=dataset_type, data_root=data_root, transform=_transform)
data = dict(train=_set, val=_set, test=_set)

model = dict(backbone=dict(in_channels=36), head=dict(out_channels=4))
optimizer = dict(lr=5e-4)
search = {"data.*.transform.FourierFeatures.num_bands": dict(choices=[2, 3, 4, 6])}
