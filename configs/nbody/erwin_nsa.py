_base_ = ["../_base_/nbody.py"]
save_path = "exp/nbody/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=3,
        channels=64,
        depth=12,
        num_heads=4,
        num_kv_heads=1,
        local_ball_size=256,
        compressed_ball_size=32,
        num_selected=16,
    )
)
