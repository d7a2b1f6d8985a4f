# Every point selects its own blocks (the paper's "BSA w/o group selection").

_base_ = ["bsa.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(group_size=1))
