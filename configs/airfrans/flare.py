_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FLARE-v1m1", in_channels=17, dimensionality=2, qk_norm=True))
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.num_latents": dict(choices=[64, 128])}
