"""AirFRANS, surface: pressure coefficient on airfoils in turbulent flow.

Data: F. Bonnet, J. A. Mazari, P. Cinnella, P. Gallinari, "AirfRANS: High Fidelity Computational Fluid Dynamics Dataset
for Approximating Reynolds-Averaged Navier-Stokes Solutions", NeurIPS 2022; reduced to the surface by S. Jena et al.,
arXiv 2503.18638. The 200 airfoils are those of AirfRANS's test set, so that the split here is this package's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.host import DATASETS

SEED = 0
COUNTS = (160, 20, 20)
PROTOCOL = f"160/20/20 of the 200 test airfoils, seed {SEED}"


@DATASETS.register_module()
class AirfRANSSurfaceDataset(FolderDataset):
    """Points of an airfoil's surface (N, 2), N = 120 .. 158 -> pressure coefficient Cp (N, 1).

    The chord has length 1 and is turned by the angle of attack.

    Args:
        data_root: the folder that ``tools/prepare_data.py airfrans`` made.
        fields: given beside the coordinates: "flow" (N, 3), standardised: speed of the stream (m/s), angle of attack
            (degrees), Reynolds number; "cp_inviscid" (N, 1), Cp of an inviscid panel method.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown field.
    """

    name = "airfrans_surface"
    command = "airfrans"
    raw = "airfrans_surface_cp_200.npz"
    dimensions = 2
    columns = {"cp": 1, "cp_inviscid": 1}
    global_fields = {"flow": 3}
    target_fields = ("cp",)
    target_names = ("cp",)
    target_units = ("1",)

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/airfrans",
        fields: Sequence[str] = ("flow",),
        **common: Any,
    ) -> None:
        super().__init__(split, data_root, fields=fields, **common)

    def notes(self) -> list[str]:
        notes = ["not AirfRANS's own split: the 200 airfoils of its test set, divided by this package"]
        if "cp_inviscid" in self.input_fields:
            notes.append("input holds the pressure coefficient of an inviscid panel method")
        return notes
