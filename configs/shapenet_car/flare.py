# FLARE (Puri et al. 2025) with the width of its paper and twice its blocks: about the size of bsa.py.

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FLARE-v1m1", depth=16))
