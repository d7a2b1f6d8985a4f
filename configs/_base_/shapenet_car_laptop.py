# The 24 cars on two CPU cores: 1024 points of a car in training, others each time; validation and test see all points.
# For the tutorial; numbers to compare are those of shapenet_car_mini24.py.

_base_ = ["shapenet_car_mini24.py"]

batch_size = 1
enable_amp = False
cuda_graph = False
num_worker = 0
max_iters = 2000
eval_every = 250

data = dict(
    train=dict(
        transform=[
            dict(type="RandomMirror", axis=0, vector_keys=("normal",)),
            dict(type="SamplePoints", num_points=1024),
            dict(type="ScaleCoord", min=(-2.7, -1.9, -2.7), max=(2.7, 3.5, 2.7), to=(-1.0, 1.0)),
            dict(type="FourierFeatures", keys=("coord",), num_bands=3),
            dict(type="AddGridCoord", grid_size=0.018),
            dict(
                type="CollectPoints",
                keys=("coord", "target", "name", "position", "grid_coord"),
                feat_keys=("fourier", "normal"),
            ),
        ]
    )
)
