_base_ = ["bsa.py"]

save_path = "exp/ahmedml/bsa_hierarchical"

model = dict(backbone=dict(near=2048, fan=8))
