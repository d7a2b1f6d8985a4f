_base_ = ["../_base_/elasticity.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="ABUPT-v1m1", num_supernodes=256, num_anchors=512, depth=11, radius=0.2, dimensionality=2)
)
