_base_ = ["bsa.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(near=2048, fan=8, levels_beyond=4096, mp_steps=0))
