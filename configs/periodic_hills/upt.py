_base_ = ["../_base_/periodic_hills.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="UPT-v1m1", num_supernodes=2048, num_latents=512, depth=10, radius=0.1, dimensionality=2)
)
