_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="LRSA-v1m1", in_channels=17, dimensionality=2))
search = {"model.backbone.num_latents": dict(choices=[64, 128])}
