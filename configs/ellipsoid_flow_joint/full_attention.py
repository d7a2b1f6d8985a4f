_base_ = ["../_base_/ellipsoid_flow_joint.py"]

save_path = "exp/ellipsoid_flow_joint/full_attention"

model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=33, channels=32, depth=4, num_heads=4, qk_norm=True))

search = {"model.backbone.qk_norm": dict(choices=[True, False])}
