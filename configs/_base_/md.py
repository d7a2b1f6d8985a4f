# Polymer molecular dynamics: 15 past velocities and the kind of each bead, bonds as edges -> mean and variance of the
# acceleration. Published with Erwin: AdamW, lr 5e-4, cosine to 1e-7, batches of 32, 100,000 iterations, negative log
# likelihood, no clipping, no noise, positions, velocities and accelerations over the standard deviations below.
# Here in addition: validation on every 32nd window of the validation trajectories (published: all of them).

_base_ = ["published.py"]

batch_size = 32
batch_size_val = 32
batch_size_test = 32
max_iters = 100000
eval_every = 5000

dataset_type = "MolecularDynamicsDataset"
data_root = "data/md"
_keys = ("coord", "target", "name", "position", "grid_coord", "neighbor_index")
_transform = [
    dict(type="ScaleCoord", min=(-21.4457, -31.7121, -25.5143), max=(21.4457, 31.7121, 25.5143), to=(-1.0, 1.0)),
    dict(type="ScaleField", key="velocity", std=(1.2809, 1.2735, 1.2792)),
    dict(type="AddGridCoord", grid_size=0.05),  # 1.1 to 1.6 length units
    dict(type="CollectPoints", keys=_keys, feat_keys=("velocity", "particle_type")),
]
_set = dict(type=dataset_type, data_root=data_root, transform=_transform)
data = dict(train=_set, val=dict(_set, stride=32), test=_set)

_bsa = dict(ball_size=128)  # as Erwin has them here; the paper of BSA has no molecular dynamics
_ptv3_small = dict(enc_patch_size=(128, 128, 128), dec_patch_size=(128, 128))
model = dict(
    type="GaussianRegressor",
    backbone=dict(in_channels=49),
    head=dict(type="GaussianHead", out_channels=3),
    criteria=[dict(type="GaussianNLLLoss")],
)
optimizer = dict(type="AdamW", lr=5e-4, weight_decay=0.01)
scheduler = dict(type="CosineAnnealingLR", eta_min=1e-7)

hooks = [
    dict(type="FitTargetNormalizer"),
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="IterationTimer", warmup_iter=2),
    dict(type="InformationWriter"),
    dict(type="RegressionEvaluator", metrics=("nll", "mse"), key="nll"),
    dict(type="CheckpointSaver", save_freq=None),
    dict(type="PreciseEvaluator", test_last=False),
    dict(type="BoardWriter"),
]
test = dict(type="MolecularDynamicsTester", verbose=True)  # windows, then rollouts of all test trajectories
