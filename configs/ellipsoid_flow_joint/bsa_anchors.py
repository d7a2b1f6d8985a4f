# Training on 512 anchors of each domain and as many queries; validation and test predict all points from such anchors.

_base_ = ["bsa.py"]
save_path = "exp/ellipsoid_flow_joint/{{fileBasenameNoExtension}}"
_anchors = dict(surface=512, volume=512)
_draw = dict(type="SampleAnchors", num_anchors=_anchors, num_queries=_anchors)
_keys = ("coord", "target", "name", "domain")
_collect = dict(type="CollectPoints", keys=_keys, feat_keys={{_base_._features}})
_all_points = dict(test_cfg=dict(anchors=_anchors))
data = dict(
    train=dict(transform=[{{_base_._distance}}, {{_base_._whose}}, _draw, {{_base_._bands}}, _collect]),
    val=_all_points,
    test=_all_points,
)
