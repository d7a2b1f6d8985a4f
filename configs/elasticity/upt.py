_base_ = ["../_base_/elasticity.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="UPT-v1m1", num_supernodes=512, depth=9, radius=0.2, dimensionality=2))
