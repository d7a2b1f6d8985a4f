_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="PointNet-v1m1", channels=(512, 256, 64), dimensionality=2))
