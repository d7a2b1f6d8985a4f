_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="UPT-v1m1", num_supernodes=2048, num_latents=512, depth=9, radius=0.05, position_scale=200.0)
)
