# Erwin-NSA (Lapautre et al. 2025): batches of 1, 10,000 iterations; the network of its ShapeNet-Car task.

_base_ = ["../_base_/cosmology.py"]
save_path = "exp/cosmology/{{fileBasenameNoExtension}}"
batch_size = 1
max_iters = 10000
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
        num_neighbors=10,
    )
)
