# AhmedML, the air around the bodies, prepared as ahmedml.py says.

_base_ = ["car_volume.py"]

data_root = "data/ahmedml"
_set = dict(type="AhmedMLDataset", data_root=data_root)
data = dict(train=_set, val=_set, test=_set)
model = dict(head=dict(out_channels=7))  # vorticity, too
