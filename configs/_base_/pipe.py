# Pipe: position -> velocity. Published: lr 5e-4, batches of 4, as many iterations as 2000 passes over 1000 flows take,
# 128 x 128 points, the standardised positions below (box: mean -+ standard deviation). Not as published: the features,
# which there are cosines and sines of up to 2^31 pi times the first coordinate.

_base_ = ["published_meshes.py"]

batch_size = 4
max_iters = 500000

dataset_type = "PipeDataset"
data_root = "data/pipe"
_transform = [
    dict(type="ScaleCoord", min=(2.0742, -0.577), max=(7.8476, 0.561), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=6),
    dict(type="AddGridCoord", grid_size=0.02),  # about the distance of two points of the mesh
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier",)),
]
_set = dict(type=dataset_type, data_root=data_root, protocol="1000/200 of 128 x 128", transform=_transform)
data = dict(train=_set, val=_set, test=_set)

model = dict(backbone=dict(in_channels=26), head=dict(out_channels=1))
optimizer = dict(lr=5e-4)
search = {"data.*.transform.FourierFeatures.num_bands": dict(choices=[2, 3, 4, 6])}
