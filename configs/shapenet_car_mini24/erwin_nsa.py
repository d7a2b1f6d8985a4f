_base_ = ["../_base_/shapenet_car_mini24.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=24,
        channels=64,
        depth=8,
        num_heads=16,
        num_kv_heads=1,
        local_ball_size=128,
        compressed_ball_size=32,
        num_selected=16,
        num_neighbors=8,
        qk_norm=True,
    )
)
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
