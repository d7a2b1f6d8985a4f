_base_ = ["bsa.py"]
save_path = "exp/beams/{{fileBasenameNoExtension}}"
_transform = [
    dict(type="ScaleCoord", min=(0.0, -1.0, -0.14), max=(15.0, 2.0, 0.34), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.166),
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier", "material"),
    ),
]
data = dict(
    train=dict(beam="TwiceClampedBeam", transform=_transform),
    val=dict(beam="TwiceClampedBeam", transform=_transform),
    test=dict(beam="TwiceClampedBeam", transform=_transform),
)
