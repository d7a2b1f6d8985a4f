# Cosmology: position of halos -> velocity. Everything but the backbone, the same for all of them: AdamW, batches of 16,
# loss and standardised positions as in the published Erwin code; 5000 iterations.
# The box is mean -+ standard deviation of the positions, the published constants. The paper of BSA has no cosmology.

_base_ = ["published.py"]

batch_size = 16
enable_amp = True
cuda_graph = True
max_iters = 5000
eval_every = 500

dataset_type = "CosmologyDataset"
data_root = "data/cosmology"
_transform = [
    dict(
        type="ScaleCoord",
        min=(211.20784542774996, 211.34219843799778, 211.2621597252692),
        max=(788.6296960904237, 788.8473620743824, 788.6668576033868),
        to=(-1.0, 1.0),
    ),
    dict(type="AddGridCoord", grid_size=0.1),  # 5000 points spread evenly: 11% share a cell, a cell touches 3 others
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("coord",)),
]
_set = dict(type=dataset_type, data_root=data_root, transform=_transform)
_kept = dict(_set, cache=True)
data = dict(train=_kept, val=_kept, test=_set)

_erwin_nsa = dict(num_neighbors=10)
model = dict(backbone=dict(in_channels=3), head=dict(out_channels=3), criteria=[dict(type="MSELoss")])
optimizer = dict(type="AdamW", lr=5e-4, weight_decay=0.01)
scheduler = dict(type="CosineAnnealingLR", eta_min=1e-6)
