_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(
    backbone=dict(
        type="ABUPT-v1m1", channels=64, num_supernodes=80, num_anchors=80, depth=8, radius=0.1, dimensionality=2
    )
)
