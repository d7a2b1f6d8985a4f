# Finer surfaces than those of ellipsoid_flow.py, to compare networks where their cost differs most.

_base_ = ["ellipsoid_flow.py"]

batch_size = 1
max_iters = 1000
eval_every = 500
epoch = 8  # under Pointcept: 1024 iterations,
eval_epoch = 2  # evaluated every 512

_bsa = dict(ball_size=256)
_erwin = dict(ball_sizes=[256, 256])
data = dict(
    train=dict(num_samples=128, num_points=65536),
    val=dict(num_samples=8, num_points=65536),
    test=dict(num_samples=16, num_points=65536),
)
