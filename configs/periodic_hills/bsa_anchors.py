# Training on 2048 anchors and as many queries of a hill; validation and test predict all points from 2048 anchors.

_base_ = ["bsa.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
_anchors = dict(type="SampleAnchors", num_anchors=2048, num_queries=2048)
_collect = dict(type="CollectPoints", keys=("coord", "target", "name", "position"), feat_keys=("fourier",))
data = dict(
    train=dict(transform=[_anchors, {{_base_._box}}, {{_base_._bands}}, _collect]),
    val=dict(test_cfg=dict(anchors=2048)),
    test=dict(test_cfg=dict(_delete_=True, anchors=2048)),
)
