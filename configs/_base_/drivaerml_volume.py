# DrivAerML, the air around the cars, prepared as drivaerml.py says.

_base_ = ["car_volume.py"]

data_root = "data/drivaerml"
_set = dict(type="DrivAerMLDataset", data_root=data_root)
data = dict(train=_set, val=_set, test=_set)
