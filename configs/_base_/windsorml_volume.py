# WindsorML, the air around the bodies, prepared as windsorml.py says.

_base_ = ["car_volume.py"]

data_root = "data/windsorml"
_set = dict(type="WindsorMLDataset", data_root=data_root)
data = dict(train=_set, val=_set, test=_set)
