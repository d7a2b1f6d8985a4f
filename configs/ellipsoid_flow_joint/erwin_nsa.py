_base_ = ["../_base_/ellipsoid_flow_joint.py"]

save_path = "exp/ellipsoid_flow_joint/erwin_nsa"

model = dict(
    backbone=dict(
        type="ErwinNSA-v1m1",
        in_channels=33,
        channels=32,
        depth=4,
        num_heads=4,
        num_kv_heads=1,
        local_ball_size=64,
        compressed_ball_size=16,
        num_selected=4,
        qk_norm=True,
    )
)

search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
