# EAGLE: state, kind of point, edges of the mesh -> change of the state to the next frame. Published with Erwin's code:
# AdamW, lr 8e-4, cosine to 1e-7, batches of 12, 200,000 iterations, state and change over the standard deviations
# below, MSE of the velocities plus a tenth of that of the pressures, no clipping. Not as published: single steps, there
# five unrolled ones and rollouts of 400 frames in the test. The papers of BSA and Erwin-NSA have no EAGLE.

_base_ = ["published.py"]

batch_size = 12
batch_size_val = 12
batch_size_test = 12
max_iters = 200000
eval_every = 5000

dataset_type = "EagleDataset"
data_root = "data/eagle"
_keys = ("coord", "target", "name", "grid_coord", "neighbor_index")
_transform = [
    dict(type="ScaleField", key="state", mean=(-0.0015, 0.2211, -0.8322, 4.6050), std=(1.7970, 2.0258, 7.4013, 9.7232)),
    dict(type="AddGridCoord", grid_size=0.05),
    dict(type="CollectPoints", keys=_keys, feat_keys=("state", "node_type")),
]
_set = dict(type=dataset_type, data_root=data_root, transform=_transform)
data = dict(train=_set, val=dict(_set, first=100, stride=100), test=dict(_set, first=100, stride=10))

_bsa = _full_attention = _erwin_nsa = dict(dimensionality=2)
_loss = dict(type="WeightedMSELoss", channel_weights=(2.0, 2.0, 0.2, 0.2))
model = dict(backbone=dict(in_channels=13), head=dict(out_channels=4), criteria=[_loss])
optimizer = dict(type="AdamW", lr=8e-4, weight_decay=0.01)
scheduler = dict(type="CosineAnnealingLR", eta_min=1e-7)
