_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="Transolver-v1m1", channels=64, depth=4, num_slices=32, out_channels=32))
