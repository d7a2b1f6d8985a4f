_base_ = ["../_base_/custom.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="MSPT-v1m1", in_channels=21))
search = {"model.backbone.block_size": dict(choices=[8, 16, 32])}
