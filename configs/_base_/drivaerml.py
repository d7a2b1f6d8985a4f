# DrivAerML, prepared by: python tools/prepare_data.py drivaerml --src <published files> --dst data/drivaerml

_base_ = ["car_surface.py"]

data_root = "data/drivaerml"
_set = dict(type="DrivAerMLDataset", data_root=data_root)
data = dict(train=_set, val=_set, test=_set)
