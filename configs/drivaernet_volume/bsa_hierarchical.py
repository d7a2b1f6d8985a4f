_base_ = ["bsa.py"]
save_path = "exp/drivaernet_volume/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(near=2048, fan=8, levels_beyond=4096))
