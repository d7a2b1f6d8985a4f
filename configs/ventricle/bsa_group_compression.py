_base_ = ["bsa.py"]
save_path = "exp/ventricle/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(group_compression=True, query_pooling="mlp"))
