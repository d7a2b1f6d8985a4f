_base_ = ["../_base_/custom.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="Transolver-v1m1", in_channels=21, out_channels=64))
search = {"model.backbone.num_slices": dict(choices=[32, 64])}
