_base_ = ["../_base_/shapenet_car_mini24.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="ABUPT-v1m1", in_channels=24, channels=64, depth=11, radius=0.1))
search = {
    "model.backbone.position_scale": dict(choices=[10.0, 100.0]),
    "model.backbone.edges": dict(choices=["radius", "knn"]),
}
