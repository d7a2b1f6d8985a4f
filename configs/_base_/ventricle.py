# Left ventricle: position, fibres and material -> displacement. Eleven simulations to train on.
# The box scales the three axes alike.

_base_ = ["recipe.py", "regression.py"]

batch_size = 1
enable_amp = True
cuda_graph = True
max_iters = 4000
eval_every = 500

dataset_type = "VentricleDataset"
data_root = "data/ventricle"
_fields = ("node_features", "material")
_box = dict(type="ScaleCoord", min=(-4.0, -4.0, -8.0), max=(4.0, 4.0, 0.0), to=(-1.0, 1.0))
_bands = dict(type="FourierFeatures", keys=("coord",), num_bands=3)
_grid = dict(type="AddGridCoord", grid_size=0.03)  # 20% of the points share a cell; a cell touches 4 others
_collect = dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier", *_fields))
_set = dict(type=dataset_type, data_root=data_root, fields=_fields, transform=[_box, _bands, _grid, _collect])
_kept = dict(_set, cache=True)
data = dict(train=_kept, val=_kept, test=_set)

_bsa = _full_attention = _erwin_nsa = dict(depth=12)
model = dict(backbone=dict(in_channels=35), head=dict(out_channels=3))
