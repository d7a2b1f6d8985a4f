_base_ = ["../_base_/shapenet_car_mini24.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=24, channels=64, depth=8, num_heads=8, qk_norm=True))
search = {"model.backbone.qk_norm": dict(choices=[True, False])}
