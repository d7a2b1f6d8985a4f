# What all configs of simulated cars (DrivAerML, AhmedML, WindsorML, DrivAerNet++) have in common, surface or volume.

_base_ = ["recipe.py"]

batch_size = 2
enable_amp = True
cuda_graph = True
max_iters = 100000
eval_every = 2000
epoch = 500  # under Pointcept: as many iterations of 400 training cars,
eval_epoch = 50  # evaluated every 2000

_bsa = _full_attention = dict(depth=12)
