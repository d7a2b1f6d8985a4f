"""Soft tissue beams: displacement of three hyperelastic beams.

Data: D. Dalton, D. Husmeier, H. Gao, "Physics-informed graph neural network emulation of soft-tissue mechanics",
Computer Methods in Applied Mechanics and Engineering 417 (2023) 116351: its finite element test simulations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import DATASETS

SEED = 0
BEAMS = {  # beam -> unit of length
    "OnceClampedBeam": "cm",
    "TwiceClampedBeam": "cm",
    "TwistingBeam": "edge of the cube",
}


@DATASETS.register_module()
class TissueBeamsDataset(FolderDataset):
    """Nodes of a beam (N, 3) -> displacement (N, 3). The geometry is fixed, the material changes.

    N = 390 for the clamped beams, 343 for the twisting one (a unit cube).

    Args:
        beam: "OnceClampedBeam" or "TwiceClampedBeam" (bent by gravity, 100 simulations each), "TwistingBeam" (50).
            Each is a task and a protocol of its own.
        data_root: the folder that ``tools/prepare_data.py beams`` made; it holds all three.
        fields: given beside the coordinates: "material" (N, 2), standardised: the Lame parameters mu and lambda of the
            clamped beams, Young's modulus and Poisson's ratio of the twisting one.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: an unknown beam or field, missing or foreign data.
    """

    name = "tissue_beams"
    command = "beams"
    raw = "soft_tissue_beams_fem.npz"
    columns = {"displacement": 3}
    global_fields = {"material": 2}
    vertices_correspond = True
    target_fields = ("displacement",)
    target_names = ("displacement_x", "displacement_y", "displacement_z")

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/beams",
        beam: str = "OnceClampedBeam",
        fields: Sequence[str] = ("material",),
        **common: Any,
    ) -> None:
        if beam not in BEAMS:
            raise InputError(f"beam: got {beam!r}, wanted one of {list(BEAMS)}{nearest(beam, BEAMS)}")
        self.beam = beam
        self.target_units = (BEAMS[beam],) * 3
        super().__init__(split, data_root, protocol=beam, fields=fields, **common)

    def notes(self) -> list[str]:
        return [f"fixed geometry, split of the simulations by this package (seed {SEED})"]
