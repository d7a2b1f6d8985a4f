# WindsorML, surface and air, prepared as windsorml.py says.

_base_ = ["car_joint.py"]

data_root = "data/windsorml"
_part = dict(type="WindsorMLDataset", data_root=data_root)
_set = dict(parts=dict(surface=_part, volume=_part))
data = dict(train=_set, val=_set, test=_set)
