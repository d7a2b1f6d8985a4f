"""WindsorML: 355 variants of the Windsor body, wall-modelled large-eddy simulation."""

from __future__ import annotations

from pointcept_bsa.datasets.car_sets.car_set import CarSetDataset
from pointcept_bsa.datasets.car_sets.spec import CarSet, Coefficients, Domain, Field, Source
from pointcept_bsa.host import DATASETS

WINDSORML = CarSet(
    name="windsorml",
    title="WindsorML",
    about="Time-averaged flow around 355 variants of the Windsor body (run_0 to run_354), about 290 million cells each",
    surface=Domain(
        "surface",
        "point",
        (
            Source(
                "{case}/boundary_{number}.vtu",
                (
                    Field("pressure_coefficient", ("cpavg",), 1, "1", "mean pressure over dynamic pressure"),
                    Field(
                        "wall_shear",
                        ("cfxavg", "cfyavg", "cfzavg"),
                        3,
                        "1",
                        "mean skin friction over dynamic pressure: the force of the flow on the body",
                    ),
                ),
            ),
        ),
        normals="Normals",
    ),
    volume=Domain(
        "volume",
        "cell",
        (
            Source(
                "{case}/volume_{number}.vtu",
                (
                    Field(
                        "velocity",
                        ("velocityxavg", "velocityyavg", "velocityzavg"),
                        3,
                        "m/s",
                        "mean velocity (unit not confirmed)",
                    ),
                    Field("pressure", ("pressureavg",), 1, "as published", "mean pressure (unit not confirmed)"),
                ),
            ),
        ),
    ),
    scalars=Coefficients("{case}/force_mom_{number}.csv", {"drag_coefficient": "cd", "lift_coefficient": "cl"}),
    splits="splits/manifest.json of the data set",
    conditions="U = 30 m/s along +x, y up, the body yawed by -2.5 degrees about y",
    source="https://huggingface.co/datasets/neashton/windsorml, https://caemldatasets.org",
    licence="CC BY-SA 4.0",
    citation="N. Ashton et al., WindsorML: High-Fidelity Computational Fluid Dynamics Dataset For Automotive "
    "Aerodynamics, arXiv 2407.19320, 2024",
    up_axis="y",
    notes=(
        "the authors' protocol `full` has 284/35/36 runs; run_350 to run_354 among them are reported to be missing",
        "the coefficients are those with the constant reference area of 0.112 m2",
        "that the published normals point out of the body is not confirmed here",
    ),
)


@DATASETS.register_module()
class WindsorMLDataset(CarSetDataset):
    """Surface points -> pressure coefficient and skin friction; volume cells -> velocity and pressure."""

    spec = WINDSORML
