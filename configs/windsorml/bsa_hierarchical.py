_base_ = ["bsa.py"]

save_path = "exp/windsorml/bsa_hierarchical"

model = dict(backbone=dict(near=2048, fan=8))
