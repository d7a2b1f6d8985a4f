# DrivAerNet++, prepared by: python tools/prepare_data.py drivaernet --src <published files> --dst data/drivaernet

_base_ = ["car_surface.py"]

data_root = "data/drivaernet"
_set = dict(type="DrivAerNetDataset", data_root=data_root)
data = dict(train=_set, val=_set, test=_set)
