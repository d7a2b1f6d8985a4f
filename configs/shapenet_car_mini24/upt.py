_base_ = ["../_base_/shapenet_car_mini24.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="UPT-v1m1", channels=64, num_supernodes=2048, num_latents=512, depth=8, radius=0.1))
