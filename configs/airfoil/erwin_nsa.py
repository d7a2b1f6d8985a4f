# Erwin-NSA with the network of its ShapeNet-Car task (Lapautre et al. 2025), which has no airfoil.

_base_ = ["../_base_/airfoil.py"]
save_path = "exp/airfoil/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=26,
        channels=64,
        depth=6,
        num_heads=16,
        num_kv_heads=1,
        local_ball_size=128,
        compressed_ball_size=32,
        num_selected=16,
        num_neighbors=8,
        dimensionality=2,
    )
)
