# Training on 2048 anchors of a car, its other points as queries; validation and test predict all points from anchors.

_base_ = ["bsa.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
_anchors = dict(type="SampleAnchors", num_anchors=2048)
_collect = dict(type="CollectPoints", keys=("coord", "target", "name", "position"), feat_keys=("coord",))
_all_points = dict(test_cfg=dict(anchors=2048))
data = dict(train=dict(transform=[_anchors, {{_base_._box}}, _collect]), val=_all_points, test=_all_points)
