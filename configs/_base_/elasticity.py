# Elasticity: position -> stress. Published: lr 1e-3, batches of 2, as many iterations as 1500 passes over 1000 meshes
# take, the standardised positions below (box: mean -+ standard deviation).

_base_ = ["published_meshes.py"]

batch_size = 2
max_iters = 750000

dataset_type = "ElasticityDataset"
data_root = "data/elasticity"
_transform = [
    dict(type="ScaleCoord", min=(0.1781, 0.1787), max=(0.8215, 0.8219), to=(-1.0, 1.0)),
    dict(type="AddGridCoord", grid_size=0.06),  # 972 points spread evenly: 30% share a cell, a cell touches 2 others
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("coord",)),
]
_set = dict(type=dataset_type, data_root=data_root, transform=_transform)
_kept = dict(_set, cache=True)
data = dict(train=_kept, val=_kept, test=_set)

model = dict(backbone=dict(in_channels=2), head=dict(out_channels=1))
optimizer = dict(lr=1e-3)
