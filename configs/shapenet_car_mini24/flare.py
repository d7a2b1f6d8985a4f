_base_ = ["../_base_/shapenet_car_mini24.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FLARE-v1m1", in_channels=24, qk_norm=True))
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.num_latents": dict(choices=[64, 128])}
