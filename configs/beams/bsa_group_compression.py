_base_ = ["bsa.py"]
save_path = "exp/beams/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(group_compression=True, query_pooling="mlp"))
