# Sets of simulated cars (DrivAerML, AhmedML, WindsorML, DrivAerNet++): position on the surface -> pressure and wall
# shear. 16,384 points of a car drawn anew every time; validation on as many fixed ones; test on 262,144, predicted in
# pieces of the size of training. Everything but the backbone and the data, the same for all of them. Positions come
# scaled to a box around all cars. For the volume: domain="volume", no normal, as many channels as its target has.

_base_ = ["recipe.py"]

batch_size = 2
enable_amp = True
amp_dtype = "bfloat16"
cuda_graph = True
max_iters = 100000
eval_every = 2000
epoch = 500  # under Pointcept: as many iterations of 400 training cars,
eval_epoch = 50  # evaluated every 2000

_points = 16384
_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),  # 7 features an axis
    dict(type="AddGridCoord", grid_size=0.02),  # of the box, whose side is 2
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier", "normal"),
    ),
]
_data = dict(domain="surface", fields=("normal",), num_points=_points, transform=_transform)
data = dict(
    train=dict(split="train", **_data),
    val=dict(split="val", **_data),
    test=dict(
        split="test",
        **{**_data, "num_points": 16 * _points},
        test_mode=True,
        test_cfg=dict(piece_points="training"),
    ),
)

model = dict(
    type="DefaultRegressor",
    head=dict(type="RegressionHead", in_channels=64, out_channels=4),
    normalizer=dict(type="TargetNormalizer", channels=4),
    criteria=[dict(type="RelativeL2Loss")],
)
