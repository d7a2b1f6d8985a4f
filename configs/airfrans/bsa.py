_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="BSA-v1m1",
        in_channels=17,
        channels=64,
        depth=8,
        num_heads=4,
        ball_size=32,
        block_size=8,
        topk=4,
        group_size=8,
        dimensionality=2,
        phi="mean",  # the MLP fits the 160 airfoils better and new ones worse: .050 for .070 in validation
        qk_norm=True,
    )
)
search = {"model.backbone.qk_norm": dict(choices=[True, False]), "model.backbone.phi": dict(choices=["mlp", "mean"])}
