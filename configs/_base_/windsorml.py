# WindsorML, prepared by: python tools/prepare_data.py windsorml --src <published files> --dst data/windsorml

_base_ = ["car_surface.py"]

data_root = "data/windsorml"
_set = dict(type="WindsorMLDataset", data_root=data_root)
data = dict(train=_set, val=_set, test=_set)
