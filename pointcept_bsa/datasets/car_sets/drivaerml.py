"""DrivAerML: 500 morphed DrivAer notchbacks, scale-resolving simulation."""

from __future__ import annotations

from pointcept_bsa.datasets.car_sets.car_set import CarSetDataset
from pointcept_bsa.datasets.car_sets.spec import (
    KINEMATIC,
    SHEAR,
    CarSet,
    Coefficients,
    Domain,
    DrawnSplit,
    Field,
    Source,
)
from pointcept_bsa.host import DATASETS

HELD_BACK = (167, 211, 218, 221, 248, 282, 291, 295, 316, 325, 329, 364, 370, 376, 403, 473)
DRIVAERML = CarSet(
    name="drivaerml",
    title="DrivAerML",
    about="Time-averaged flow around 484 published of 500 morphed variants of the DrivAer notchback",
    surface=Domain(
        "surface",
        "cell",
        (
            Source(
                "{case}/boundary_{number}.vtp",
                (
                    Field("pressure_coefficient", ("CpMeanTrim",), 1, "1", "mean pressure over dynamic pressure"),
                    Field("wall_shear", ("wallShearStressMeanTrim",), 3, KINEMATIC, SHEAR),
                ),
            ),
        ),
        inward=True,
    ),
    volume=Domain(
        "volume",
        "cell",
        (
            Source(
                "{case}/volume_{number}.vtu",
                (
                    Field("velocity", ("UMeanTrim",), 3, "m/s", "mean velocity"),
                    Field("pressure", ("pMeanTrim",), 1, KINEMATIC, "mean pressure"),
                ),
            ),
        ),
    ),
    scalars=Coefficients(
        "{case}/force_mom_constref_{number}.csv", {"drag_coefficient": "Cd", "lift_coefficient": "Cl"}
    ),
    splits="splits/manifest.json of the data set",
    conditions="U = 38.889 m/s along +x, z up, kinematic viscosity 1.507e-5 m2/s, density 1 (pressure over density)",
    source="https://huggingface.co/datasets/neashton/drivaerml, https://caemldatasets.org",
    licence="CC BY-SA 4.0",
    citation="N. Ashton et al., DrivAerML: High-Fidelity Computational Fluid Dynamics Dataset for Road-Car External "
    "Aerodynamics, arXiv 2408.11969, 2024",
    drawn=DrawnSplit("full", 500, 1, 42, (("train", 400), ("test", 50), ("val", 34)), HELD_BACK),
    notes=(
        "protocol `full` (400/34/50, 16 runs held back by the authors) is that of the authors' manifest and of AB-UPT",
        "the coefficients are those with the constant reference area of 2.17 m2 (`force_mom_constref_*.csv`); in this "
        "set `force_mom_*.csv` has the area of each car",
        "the pressure in m2/s2 is the coefficient times 38.889^2 / 2 = 756.177",
        "volume files of several `.part`s are read as they are; their cells are hexahedra and polyhedra",
    ),
)


@DATASETS.register_module()
class DrivAerMLDataset(CarSetDataset):
    """Surface cells -> pressure coefficient and wall shear; volume cells -> velocity and pressure."""

    spec = DRIVAERML
