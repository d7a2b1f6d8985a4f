# AhmedML, surface and air, prepared as ahmedml.py says.

_base_ = ["car_joint.py"]

data_root = "data/ahmedml"
_part = dict(type="AhmedMLDataset", data_root=data_root)
_set = dict(parts=dict(surface=_part, volume=_part))
data = dict(train=_set, val=_set, test=_set)
model = dict(domains=dict(volume=dict(head=dict(out_channels=7))))  # vorticity, too
