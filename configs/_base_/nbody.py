# N-body box: position in the sub-box -> velocity. 506 to 20,815 points, all of them: fewer would be another density.
# Grid cells, for backbones that want them: matter is so clustered that no size fits all of it. In cells of 0.16 Mpc/h
# half of the points share a cell and a cell touches 3 others.

_base_ = ["search.py", "networks.py", "regression.py"]

batch_size = 1
enable_amp = True
max_iters = 4000
eval_every = 500
cuda_graph = True
pad_clouds = 2048  # slots: 11 shapes, a multiple of every ball

dataset_type = "NBodyBoxDataset"
data_root = "data/nbody"
_transform = [
    dict(type="ScaleCoord", min=(0.0, 0.0, 0.0), max=(8.0, 8.0, 8.0), to=(-1.0, 1.0)),
    dict(type="AddGridCoord", grid_size=0.04),
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("coord",)),
]
_set = dict(type=dataset_type, data_root=data_root, transform=_transform)
_kept = dict(_set, cache=True)
data = dict(train=_kept, val=_kept, test=_set)

_bsa = _full_attention = _erwin_nsa = dict(depth=12, num_heads=4)
model = dict(backbone=dict(in_channels=3), head=dict(out_channels=3))
optimizer = dict(type="Muon", lr=2e-3, weight_decay=0.01)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05)
