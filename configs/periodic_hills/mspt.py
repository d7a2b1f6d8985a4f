_base_ = ["../_base_/periodic_hills.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="MSPT-v1m1", depth=18, dimensionality=2))
