"""Airfoil: Mach number of transonic flow around airfoils.

Data: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for PDEs on General
Geometries" (Geo-FNO), JMLR 24 (2023) 1-26. Raw data become the prepared folder by ``tools/prepare_data.py airfoil``.
Not the surfaces of AirFRANS, which are ``AirfRANSSurfaceDataset``.
"""

from __future__ import annotations

from typing import Any

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.structured_mesh import SOURCE, Benchmark, prepare_meshes
from pointcept_bsa.host import DATASETS

PROTOCOL = "1000/200"
CARD = (
    """# Airfoil, prepared

Steady inviscid transonic flow around airfoils (NACA-0012, deformed; free stream of Mach 0.8, no angle of attack) on
C-grids; one folder a flow, written by `tools/prepare_data.py airfoil`. Point `51 i + j` of the mesh has indices i, j.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (11271, 2) float32 | chord | points of the mesh, 221 x 51 |
| mach.npy | (11271, 1) float32 | 1 | Mach number: channel 4 of Q |

"""
    + SOURCE.format(path="airfoil/naca/NACA_Cylinder_{X,Y,Q}.npy")
    + "Protocol 1000/200 (Geo-FNO, Transolver, Erwin). Erwin's constants: mean 0.8163, standard deviation 0.1385.\n"
)
RAW = Benchmark(
    "NACA_Cylinder",
    ("", "naca", "airfoil/naca"),
    mesh=(221, 51),
    channel=4,
    target="mach",
    protocols=(PROTOCOL,),
    card=CARD,
)


@DATASETS.register_module()
class AirfoilDataset(FolderDataset):
    """Points of a C-grid around an airfoil (221 x 51 = 11271, 2) -> Mach number (11271, 1).

    Args:
        data_root: the folder that ``tools/prepare_data.py airfoil`` made.
        protocol: "1000/200": the first 1000 flows train, the next 200 test (Geo-FNO, Transolver, Erwin); "partial";
            None: the default that the prepared folder names.
        validation: "holdout": validation samples are drawn from the training samples and left out of training;
            "test": the papers' way: train on the whole training split, validate on the test samples.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol or validation.
    """

    name = "airfoil"
    command = "airfoil"
    raw = "folder of NACA_Cylinder_{X,Y,Q}.npy"
    dimensions = 2
    columns = {"mach": 1}
    target_fields = ("mach",)
    target_names = ("mach",)
    target_units = ("1",)
    published = {PROTOCOL: {"mean": [0.8163], "std": [0.1385]}}  # as Erwin normalises

    def __init__(self, split: str = "train", data_root: str = "data/airfoil", **common: Any) -> None:
        super().__init__(split, data_root, **common)


def prepare_airfoil(src: str | None, dst: str, **options: bool) -> None:
    """Write the prepared folder of the airfoils; see :func:`prepare_meshes`."""
    prepare_meshes(RAW, src, dst, **options)
