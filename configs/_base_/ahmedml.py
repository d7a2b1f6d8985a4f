# AhmedML, prepared by: python tools/prepare_data.py ahmedml --src <published files> --dst data/ahmedml

_base_ = ["car_surface.py"]

data_root = "data/ahmedml"
_set = dict(type="AhmedMLDataset", data_root=data_root)
data = dict(train=_set, val=_set, test=_set)
