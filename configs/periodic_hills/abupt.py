_base_ = ["../_base_/periodic_hills.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="ABUPT-v1m1", num_supernodes=1024, depth=12, radius=0.1, dimensionality=2))
