_base_ = ["bsa.py"]
save_path = "exp/beams/{{fileBasenameNoExtension}}"
_transform = [
    dict(type="ScaleCoord", min=(0.0, 0.0, 0.0), max=(1.0, 1.0, 1.0), to=(-1.0, 1.0)),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="AddGridCoord", grid_size=0.33),
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "position", "grid_coord"),
        feat_keys=("fourier", "material"),
    ),
]
data = dict(
    train=dict(beam="TwistingBeam", transform=_transform),
    val=dict(beam="TwistingBeam", transform=_transform),
    test=dict(beam="TwistingBeam", transform=_transform),
)
