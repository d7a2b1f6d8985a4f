_base_ = ["bsa.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(near=256, fan=8))
