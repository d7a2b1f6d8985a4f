# The 24 cars on two CPU cores: 1024 points of a car in training, others each time; validation and test see all points.
# For the tutorial; numbers to compare are those of shapenet_car_mini24.py.

_base_ = ["shapenet_car_mini24.py"]

batch_size = 1
enable_amp = False
cuda_graph = False
num_worker = 0
eval_every = 250

_draw = dict(type="SamplePoints", num_points=1024)
_features = [{{_base_._box}}, {{_base_._bands}}, {{_base_._grid}}, {{_base_._collect}}]
data = dict(train=dict(transform=[{{_base_._mirror}}, _draw, *_features]))
_full_attention = dict(depth=4)
_bsa = dict(depth=4, mp_steps=0)
