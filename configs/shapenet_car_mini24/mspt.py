_base_ = ["../_base_/shapenet_car_mini24.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="MSPT-v1m1", in_channels=24, depth=14))
search = {"model.backbone.block_size": dict(choices=[8, 16, 32])}
