_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="Transolver-v1m1", in_channels=17, out_channels=64, dimensionality=2))
search = {"model.backbone.num_slices": dict(choices=[32, 64])}
