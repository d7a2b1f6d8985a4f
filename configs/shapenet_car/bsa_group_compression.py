# Coarse queries in the compression branch too (the paper's "BSA w group compression", eq. 15).

_base_ = ["bsa.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(group_compression=True, query_pooling="mlp"))
