_base_ = ["bsa.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
data = {{_base_._from_anchors}}
model = dict(backbone=dict(mp_steps=0))
