# Ellipsoid flow, joint: position, normal, whose a point is, distance to the body -> pressure coefficient on the body,
# velocity and pressure coefficient around it. Exact, generated.

_base_ = ["ellipsoid.py", "joint.py"]

max_iters = 4000
eval_every = 1000
epoch = 32  # under Pointcept: 4096 iterations,
eval_epoch = 4  # evaluated every 1024

dataset_type = "EllipsoidFlowJointDataset"
_keys = ("coord", "target", "name", "grid_coord", "domain")
_features = ("fourier", "normal", "domain_one_hot")
_distance = dict(type="AddSurfaceDistance", surface="surface")
_whose = dict(type="OneHotDomain")
_bands = dict(type="FourierFeatures", keys=("coord", "distance"), num_bands=3)  # 28 features
_grid = dict(type="AddGridCoord", grid_size=0.004)
_collect = dict(type="CollectPoints", keys=_keys, feat_keys=_features)
_transform = [_distance, _whose, _bands, _grid, _collect]
_set = dict(type=dataset_type, num_points=dict(surface=1024, volume=1024), transform=_transform)
data = dict(
    train=dict(_set, num_samples=512, cache=True),
    val=dict(_set, num_samples=32, cache=True),
    test=dict(_set, num_samples=64),
)

# Training on 512 anchors of each domain and as many queries; validation and test predict all points from such anchors.
_anchors = dict(surface=512, volume=512)
_draw = dict(type="SampleAnchors", num_anchors=_anchors, num_queries=_anchors)
_few = dict(type="CollectPoints", keys=("coord", "target", "name", "domain"), feat_keys=_features)
_all_points = dict(test_cfg=dict(anchors=_anchors))
_from_anchors = dict(train=dict(transform=[_distance, _whose, _draw, _bands, _few]), val=_all_points, test=_all_points)

model = dict(
    backbone=dict(in_channels=33),
    domains=dict(surface=dict(head=dict(out_channels=1)), volume=dict(head=dict(out_channels=4))),
)
