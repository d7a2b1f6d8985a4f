# Dense attention: the accuracy ceiling of the paper's table 3.

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
