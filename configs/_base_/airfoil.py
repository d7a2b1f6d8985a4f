# Airfoil: position -> Mach number. Published: lr 1e-3, batches of 8, as many iterations as 8000 passes over 1000 flows
# take, the standardised positions below (box: mean -+ standard deviation). Not as published: the features, which there
# are cos(2^k pi x), k = 0 .. 63, of the first coordinate alone.

_base_ = ["published_meshes.py"]

batch_size = 8
max_iters = 1000000

dataset_type = "AirfoilDataset"
data_root = "data/airfoil"
_transform = [
    dict(type="ScaleCoord", min=(-5.1682, -6.07735767), max=(8.1532, 6.07804233), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=6),
    dict(type="AddGridCoord", grid_size=0.02),  # the mesh is far finer at the airfoil: many points share a cell there
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier",)),
]
_set = dict(type=dataset_type, data_root=data_root, transform=_transform)
data = dict(train=_set, val=_set, test=_set)

model = dict(backbone=dict(in_channels=26), head=dict(out_channels=1))
optimizer = dict(lr=1e-3)
search = {"data.*.transform.FourierFeatures.num_bands": dict(choices=[2, 3, 4, 6])}
