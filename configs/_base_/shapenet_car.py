# ShapeNet-Car: position -> surface pressure. Everything but the backbone, the same for all of them.
# Box and scale of the positions as in the protocol of UPT and Erwin; AdamW, 100,000 iterations as in the BSA paper.
# Grid cells, for backbones that want them, are cubes of the scaled coordinates: 3.2 x 4.4 x 8.4 cm of the car.

_base_ = ["published.py"]

batch_size = 2
enable_amp = True
cuda_graph = True
max_iters = 100000
eval_every = 2000
epoch = 306  # under Pointcept: 99,450 iterations of the 650 training cars of protocol A,
eval_epoch = 51  # evaluated every 1950

dataset_type = "ShapeNetCarDataset"
data_root = "data/shapenet_car"
_box = dict(type="ScaleCoord", min=(-2.0, -1.0, -4.5), max=(2.0, 4.5, 6.0))
_transform = [
    _box,
    dict(type="AddGridCoord", grid_size=0.008),  # 11% of the points share a cell; a cell touches 4 others
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("coord",)),
]
_set = dict(type=dataset_type, data_root=data_root, transform=_transform)
_kept = dict(_set, cache=True)
data = dict(train=_kept, val=_kept, test=_set)

# Training on 2048 anchors of a car, its other points as queries; validation and test predict all points from anchors.
_draw = dict(type="SampleAnchors", num_anchors=2048)
_few = dict(type="CollectPoints", keys=("coord", "target", "name", "position"), feat_keys=("coord",))
_all_points = dict(test_cfg=dict(anchors=2048))
_from_anchors = dict(train=dict(transform=[_draw, _box, _few]), val=_all_points, test=_all_points)

model = dict(backbone=dict(in_channels=3), head=dict(out_channels=1), criteria=[dict(type="MSELoss")])
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.01)
scheduler = dict(type="CosineAnnealingLR", eta_min=5e-5)
