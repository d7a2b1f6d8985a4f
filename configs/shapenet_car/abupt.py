_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(type="ABUPT-v1m1", num_supernodes=1024, depth=11, radius=0.05, position_scale=200.0, rotary=2.0)
)
