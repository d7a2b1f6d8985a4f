# Protein surfaces: position, normal and what the atoms say at each point -> electrostatic potential. 39 proteins to
# train on, 4096 points of each drawn anew every time; validation and test on all 4135 to 13,891. The potential does not
# know the axes of the crystal, so that training turns the proteins at random. The box (in Angstrom) holds every turn.
# Means and scales of the inputs are those of the training split (stats.json).

_base_ = ["recipe.py", "regression.py"]

batch_size = 2
enable_amp = True
cuda_graph = True
max_iters = 4000
eval_every = 500
epoch = 210  # under Pointcept: 3990 iterations,
eval_epoch = 7  # evaluated every 570

dataset_type = "ProteinSurfaceDataset"
data_root = "data/proteins"
_fields = ("normal", "coulomb", "atom_density", "atom_distance", "hbond", "hydropathy")
_rotation = dict(type="RandomRotate", angle=[-1, 1], center=[0, 0, 0], always_apply=True)
_rotations = [dict(_rotation, axis="z"), dict(_rotation, axis="y"), dict(_rotation, axis="x")]
_features = [
    dict(type="ScaleCoord", min=(-80.0, -80.0, -80.0), max=(80.0, 80.0, 80.0), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="ScaleField", key="coulomb", mean=(0.0, -0.01, -0.04, -0.08), std=(0.08, 0.14, 0.19, 0.24)),
    dict(
        type="ScaleField",
        key="atom_density",
        mean=(0.19, 0.56, 0.39, 0.12, 0.16, 0.0, 0.65, 1.99, 1.59, 0.46, 0.54, 0.01),
        std=(0.17, 0.26, 0.12, 0.08, 0.11, 0.014, 0.32, 0.71, 0.48, 0.18, 0.23, 0.03),
    ),
    dict(
        type="ScaleField", key="atom_distance", mean=(1.67, 2.21, 3.14, 2.97, 10.29), std=(0.53, 0.35, 1.02, 1.27, 2.44)
    ),
    dict(type="ScaleField", key="hydropathy", mean=(-1.4,), std=(2.8,)),
    dict(type="AddGridCoord", grid_size=0.014),  # of 4096 points 6% share a cell; a cell touches 4 others
    dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier", *_fields)),
]
_set = dict(type=dataset_type, data_root=data_root, fields=_fields, transform=_features)
_kept = dict(_set, with_face=False, cache=True)
data = dict(
    train=dict(_kept, transform=[dict(type="SamplePoints", num_points=4096)] + _rotations + _features),
    val=_kept,
    test=_set,  # whole: in pieces of 4096 points no network is better in validation by more than .002
)

_bsa = dict(mp_steps=3)  # messages first: .420 for .432 in validation
_erwin = dict(rotate=45, mp_steps=3, num_neighbors=8)
_erwin_nsa = dict(num_neighbors=8)
model = dict(backbone=dict(in_channels=47), head=dict(out_channels=1))
