"""Plasticity: deformation of a block of material under a die, at 20 times.

Data: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for PDEs on General
Geometries" (Geo-FNO), JMLR 24 (2023) 1-26. Raw data become the prepared folder by ``tools/prepare_data.py plasticity``.

Letters: N points, T times.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

NUM_TIMES = 20
SHAPE = (101, 31)
PROTOCOL = "900/80"


@DATASETS.register_module()
class PlasticityDataset(FolderDataset):
    """Mesh of a block (101 x 31 = 3131, 2), shape of the die and time -> position and displacement (3131, 4).

    A sample is one block at one of 20 times, ``block_0000/t00`` .. ``t19``: coord (N, 2), the undeformed mesh as a unit
    square; ``die (N, 1)``, the height of the die above the point's column; ``time (N, 1)``, from 0 to 1. The published
    code draws one time of a block in every epoch; here an epoch has all of them.

    Args:
        data_root: the folder that ``tools/prepare_data.py plasticity`` made.
        protocol: "900/80": the first 900 blocks train, the last 80 of the 987 test (Geo-FNO, Transolver, Erwin);
            "partial"; None: the default that the prepared folder names.
        validation: "holdout": validation blocks are drawn from the training blocks and left out of training; "test":
            the papers' way: train on the whole training split, validate on the test blocks.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol or validation.
    """

    name = "plasticity"
    command = "plasticity"
    raw = "plas_N987_T20.mat"
    dimensions = 2
    columns = {"die": 1, "deformation": 4}
    target_fields = ("deformation",)
    target_names = ("position_x", "position_y", "displacement_x", "displacement_y")
    target_units = ("unit of the source",) * 4
    published = {PROTOCOL: {"mean": [-4.4049] * 4, "std": [14.3477] * 4}}  # as Erwin normalises, all four alike

    def __init__(self, split: str = "train", data_root: str = "data/plasticity", **common: Any) -> None:
        super().__init__(split, data_root, **common)

    def list_samples(self) -> list[str]:
        return [f"{block}/t{t:02d}" for block in super().list_samples() for t in range(NUM_TIMES)]

    def load_fields(self, index: int) -> dict[str, Any]:
        block, t = self._place(index)
        coord = self.folder.read(block, "coord", (None, 2))
        deformation = self.folder.read(block, "deformation", (None, 4))
        if len(deformation) != NUM_TIMES * len(coord):
            raise InputError(
                f"{self.where(index, 'deformation')}: has {len(deformation)} rows, wanted {NUM_TIMES * len(coord)}"
            )
        return {
            "coord": coord,
            "die": self.folder.read(block, "die", (None, 1)),
            "time": np.full((len(coord), 1), t / (NUM_TIMES - 1), dtype=np.float32),
            "deformation": deformation[t * len(coord) : (t + 1) * len(coord)],
        }

    def where(self, index: int, field: str) -> str:
        return str(self.folder.file(self._place(index)[0], field))

    def notes(self) -> list[str]:
        return [*super().notes(), f"a sample is a block at one of {NUM_TIMES} times"]

    def _place(self, index: int) -> tuple[str, int]:
        block, _, time = self.data_list[index].rpartition("/t")
        return block, int(time)
