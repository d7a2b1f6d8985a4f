_base_ = ["bsa.py"]

save_path = "exp/proteins/bsa_hierarchical"

model = dict(backbone=dict(near=2048, fan=8))
