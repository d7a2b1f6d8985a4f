"""AhmedML: 500 variants of the Ahmed body, hybrid RANS-LES."""

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

AHMEDML = CarSet(
    name="ahmedml",
    title="AhmedML",
    about="Time-averaged flow around 500 variants of the Ahmed body, about 20 million cells each",
    surface=Domain(
        "surface",
        "cell",
        (
            Source(
                "{case}/boundary_{number}.vtp",
                (
                    Field(
                        "pressure_coefficient", ("static(p)_coeffMean",), 1, "1", "mean pressure over dynamic pressure"
                    ),
                    Field("wall_shear", ("wallShearStressMean",), 3, KINEMATIC, SHEAR),
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
                    Field("velocity", ("UMean",), 3, "m/s", "mean velocity"),
                    Field("pressure", ("pMean",), 1, KINEMATIC, "mean pressure"),
                    Field("vorticity", ("vorticityMean",), 3, "1/s", "mean vorticity"),
                ),
            ),
        ),
    ),
    scalars=Coefficients("{case}/force_mom_{number}.csv", {"drag_coefficient": "cd", "lift_coefficient": "cl"}),
    splits="splits/manifest.json of the data set",
    conditions="U = 1 m/s along +x, z up, kinematic viscosity 3.75e-7 m2/s, density 1 (pressure over density)",
    source="https://huggingface.co/datasets/neashton/ahmedml, https://caemldatasets.org",
    licence="CC BY-SA 4.0",
    citation="N. Ashton, D. Maddix, S. Gundry, P. Shabestari, AhmedML: High-Fidelity Computational Fluid Dynamics "
    "Dataset for Incompressible, Low-Speed Bluff Body Aerodynamics, arXiv 2407.20801, 2024",
    drawn=DrawnSplit("ab_upt", 500, 1, 42, (("train", 400), ("val", 50), ("test", 50))),
    notes=(
        "protocol `ab_upt` (400/50/50) is that of AB-UPT (arXiv 2502.09692); whether the authors' `full` has the same "
        "runs is not confirmed: give their manifest as `--splits`",
        "the coefficients are those with the constant reference area of 0.112 m2",
        "the pressure in m2/s2 is half the coefficient",
        "users report coefficients of runs 105, 159 and 492 that do not follow from the fields",
    ),
)


@DATASETS.register_module()
class AhmedMLDataset(CarSetDataset):
    """Surface cells -> pressure coefficient and wall shear; volume cells -> velocity and pressure."""

    spec = AHMEDML
