# Erwin in the setting of its paper (Zhdanov et al. 2025): the small network.

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin}})
