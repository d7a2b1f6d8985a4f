# BSA in the setting of the paper (Brita et al. 2025, tables 3 and 4).

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._bsa}})
