"""DrivAerNet++: 8,000 DrivAer cars of three rear ends, steady Reynolds-averaged simulation."""

from __future__ import annotations

from pointcept_bsa.datasets.car_sets.car_set import CarSetDataset
from pointcept_bsa.datasets.car_sets.spec import KINEMATIC, CarSet, Coefficients, Domain, Field, Source
from pointcept_bsa.host import DATASETS

UNCONFIRMED = "pressure over density is not confirmed"
DRIVAERNET = CarSet(
    name="drivaernet",
    title="DrivAerNet++",
    about="Steady flow around 8,150 cars: fastback, notchback and estateback, wheels and underbodies of several kinds",
    surface=Domain(
        "surface",
        "point",
        (
            Source(
                "PressureVTK/{group}*/{case}.vtk",
                (Field("pressure", ("p",), 1, KINEMATIC, f"pressure ({UNCONFIRMED})"),),
            ),
            Source(
                "WallShearStressVTK_Updated/{group}*/{case}.vtk",
                (Field("wall_shear", ("wallShearStress",), 3, KINEMATIC, f"wall shear stress ({UNCONFIRMED})"),),
            ),
        ),
        inward=True,
    ),
    volume=Domain(
        "volume",
        "point",
        (
            Source(
                "CFD/{group}*/{case}.vtk",
                (
                    Field("velocity", ("U",), 3, "m/s", "velocity"),
                    Field("pressure", ("p",), 1, KINEMATIC, f"pressure ({UNCONFIRMED})"),
                ),
            ),
        ),
    ),
    scalars=Coefficients("DrivAerNetPlusPlus_Cd_8k_Updated.csv", {"drag_coefficient": "Average Cd"}, key="Design"),
    splits="train_val_test_splits of github.com/Mohamedelrefaie/DrivAerNet",
    conditions="U = 30 m/s (not confirmed) along +x, z up",
    source="https://dataverse.harvard.edu/dataverse/DrivAerNet, https://github.com/Mohamedelrefaie/DrivAerNet",
    licence="CC BY-NC 4.0: no commercial use",
    citation="M. Elrefaie, F. Morar, A. Dai, F. Ahmed, DrivAerNet++: A Large-Scale Multimodal Car Dataset with "
    "Computational Fluid Dynamics Simulations and Deep Learning Benchmarks, NeurIPS 2024 (arXiv 2406.09624)",
    prefix=None,
    notes=(
        "the published lists have 5818/1147/1153 designs",
        "pressure and wall shear come in files of other order: points are matched by their coordinates. Files of a few "
        "designs are reported to have other points: name these with `--without`",
        "which way the polygons of the files run, and with it the sign of `normal`, is not confirmed",
    ),
)


@DATASETS.register_module()
class DrivAerNetDataset(CarSetDataset):
    """Surface points -> pressure and wall shear; volume points -> velocity and pressure."""

    spec = DRIVAERNET
