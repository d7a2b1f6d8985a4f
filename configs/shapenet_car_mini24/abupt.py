_base_ = ["../_base_/shapenet_car_mini24.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="ABUPT-v1m1", channels=64, depth=11, radius=0.1))
