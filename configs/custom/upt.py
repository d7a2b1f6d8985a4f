_base_ = ["../_base_/custom.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="UPT-v1m1", in_channels=21, edges="knn"))
search = {
    "model.backbone.position_scale": dict(choices=[10.0, 100.0]),
    "model.backbone.edges": dict(choices=["radius", "knn"]),
}
