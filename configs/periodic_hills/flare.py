_base_ = ["../_base_/periodic_hills.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FLARE-v1m1", in_channels=21, depth=16, dimensionality=2, qk_norm=True))
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.num_latents": dict(choices=[64, 128])}
