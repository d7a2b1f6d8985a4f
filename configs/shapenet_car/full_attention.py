# Dense attention: the accuracy ceiling of the paper's table 3.

_base_ = ["../_base_/shapenet_car.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(type="FullAttention-v1m1", in_channels=3, channels=64, depth=18, num_heads=8))
