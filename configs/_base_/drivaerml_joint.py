# DrivAerML, surface and air, prepared as drivaerml.py says.

_base_ = ["car_joint.py"]

data_root = "data/drivaerml"
_part = dict(type="DrivAerMLDataset", data_root=data_root)
_set = dict(parts=dict(surface=_part, volume=_part))
data = dict(train=_set, val=_set, test=_set)
