# Erwin-NSA in the setting of its table 3 (Lapautre et al. 2025).

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=3,
        channels=64,
        depth=6,
        num_heads=16,
        num_kv_heads=1,
        local_ball_size=128,
        compressed_ball_size=32,
        num_selected=16,
        num_neighbors=8,
    )
)
