"""N-body box: velocities of dark matter particles from their positions.

Data: a small box of the Abacus N-body code (64^3 particles in 32 Mpc/h, redshift 0), from the tests of abacusutils:
L. H. Garrison et al., "The Abacus cosmological N-body code", MNRAS 508 (2021) 575; N. A. Maksimova et al.,
"AbacusSummit", MNRAS 508 (2021) 4017. Not the benchmark of Balla et al.
"""

from __future__ import annotations

from typing import Any

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.host import DATASETS

SIDE = 8.0  # of a sub-box, Mpc/h


@DATASETS.register_module()
class NBodyBoxDataset(FolderDataset):
    """Particles of a sub-box (N, 3), N = 506 .. 20815 -> velocity (N, 3).

    Sub-boxes have sides of 8 Mpc/h; positions run from 0 to 8, from the sub-box's corner. The split is by slab of
    sub-boxes along x, so that no sub-box of the test lies between training ones; neighbouring slabs share structures.

    Args:
        data_root: the folder that ``tools/prepare_data.py nbody`` made.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data.
    """

    name = "nbody_box"
    command = "nbody"
    raw = "abacus_mini_n64_l32.npz"
    columns = {"velocity": 3}
    target_fields = ("velocity",)
    target_names = ("velocity_x", "velocity_y", "velocity_z")
    target_units = ("km/s",) * 3

    def __init__(self, split: str = "train", data_root: str = "data/nbody", **common: Any) -> None:
        super().__init__(split, data_root, **common)

    def notes(self) -> list[str]:
        return [
            "one simulation, split by slab: neighbouring slabs share structures",
            "the mean velocity of a sub-box comes from outside of it and is part of the target",
        ]
