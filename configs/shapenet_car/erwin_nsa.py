# Erwin-NSA in the setting of its table 3 (Lapautre et al. 2025).

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin_nsa}})
