# Soft tissue beams: position and material -> displacement. The beam clamped at one end; the configs *_twice_clamped and
# *_twisting are for the others. The box is such that the mesh has the same spacing along all three axes.

_base_ = ["recipe.py"]

batch_size = 8
cuda_graph = True
max_iters = 5000
eval_every = 500

dataset_type = "TissueBeamsDataset"
data_root = "data/beams"
_transform = [
    dict(type="ScaleCoord", min=(0.0, -1.0, -0.7), max=(10.0, 2.0, 1.7), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.166),  # a point a cell, every cell of the lattice touches the next
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier", "material"),
    ),
]
data = dict(
    train=dict(
        type=dataset_type,
        split="train",
        data_root=data_root,
        beam="OnceClampedBeam",
        fields=("material",),
        transform=_transform,
        cache=True,
    ),
    val=dict(
        type=dataset_type,
        split="val",
        data_root=data_root,
        beam="OnceClampedBeam",
        fields=("material",),
        transform=_transform,
        cache=True,
    ),
    test=dict(
        type=dataset_type,
        split="test",
        data_root=data_root,
        beam="OnceClampedBeam",
        fields=("material",),
        transform=_transform,
        test_mode=True,
    ),
)

model = dict(
    type="DefaultRegressor",
    norm="layer",  # half the error of "cloud" on the validation samples
    head=dict(type="RegressionHead", in_channels=64, out_channels=3),
    normalizer=dict(type="TargetNormalizer", channels=3),
    criteria=[dict(type="RelativeL2Loss")],
)
