# DrivAerNet++, the air around the cars, prepared as drivaernet.py says.

_base_ = ["car_volume.py"]

data_root = "data/drivaernet"
_set = dict(type="DrivAerNetDataset", data_root=data_root)
data = dict(train=_set, val=_set, test=_set)
