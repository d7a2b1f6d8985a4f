_base_ = ["bsa.py"]
save_path = "exp/ellipsoid_flow_65536/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(near=2048, fan=8, levels_beyond=4096))
