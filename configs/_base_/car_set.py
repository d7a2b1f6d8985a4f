# Sets of simulated cars (DrivAerML, AhmedML, WindsorML, DrivAerNet++): position on the surface -> pressure and wall
# shear. 16,384 points of a car drawn anew every time; validation on as many fixed ones; test on 262,144, predicted in
# pieces of the size of training. Everything but the backbone and the data, the same for all of them. Positions come
# scaled to a box around all cars. For the volume: domain="volume", no normal, as many channels as its target has.

_base_ = ["recipe.py", "regression.py"]

batch_size = 2
enable_amp = True
cuda_graph = True
max_iters = 100000
eval_every = 2000
epoch = 500  # under Pointcept: as many iterations of 400 training cars,
eval_epoch = 50  # evaluated every 2000

_points = 16384
_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),  # 7 features an axis
    dict(type="AddGridCoord", grid_size=0.02),  # of the box, whose side is 2
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier", "normal")),
]
_set = dict(domain="surface", fields=("normal",), num_points=_points, transform=_transform)
data = dict(train=_set, val=_set, test=dict(_set, num_points=16 * _points, test_cfg=dict(piece_points="training")))

_bsa = _full_attention = dict(depth=12)
model = dict(backbone=dict(in_channels=24), head=dict(out_channels=4))
