_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="UPT-v1m1", channels=64, num_supernodes=80, num_latents=32, radius=0.1, dimensionality=2)
)
