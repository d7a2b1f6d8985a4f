_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FLARE-v1m1", dimensionality=2, qk_norm=True))
