_base_ = ["../_base_/custom.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FLARE-v1m1", in_channels=21, qk_norm=True))
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.num_latents": dict(choices=[64, 128])}
