_base_ = ["../_base_/periodic_hills.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FLARE-v1m1", depth=16, dimensionality=2, qk_norm=True))
