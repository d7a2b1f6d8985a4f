_base_ = ["bsa.py"]

save_path = "exp/ellipsoid_flow/bsa_hierarchical"

model = dict(backbone=dict(near=256, fan=8))
