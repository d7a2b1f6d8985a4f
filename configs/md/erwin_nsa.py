# Erwin-NSA with the network of its molecular dynamics (Lapautre et al. 2025, table 3): batches of 1, 90,000 iterations.

_base_ = ["../_base_/md.py"]
save_path = "exp/md/{{fileBasenameNoExtension}}"
batch_size = 1
max_iters = 90000
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        channels=128,
        depth=2,
        num_heads=16,
        num_kv_heads=1,
        local_ball_size=32,
        compressed_ball_size=32,
        num_selected=16,
    )
)
