"""Plasticity: deformation of a block of material under a die, at 20 times.

Data: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for PDEs on General
Geometries" (Geo-FNO), JMLR 24 (2023) 1-26. Raw data become the prepared folder by ``tools/prepare_data.py plasticity``.

Letters: N points, T times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.matlab import read_mat
from pointcept_bsa.datasets.prepare.samples import Arrays, write_samples
from pointcept_bsa.datasets.prepare.splits import ends_protocols
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

NUM_TIMES = 20
SHAPE = (101, 31)
PROTOCOL = "900/80"
NUM_BLOCKS, NUM_TRAIN, NUM_TEST = 987, 900, 80
FIELDS = ("coord", "die", "deformation")
CARD = """# Plasticity, prepared

A block of elasto-plastic material, clamped at the bottom, into which a die is pressed; one folder a block, written by
`tools/prepare_data.py plasticity`. Point `31 i + j` of the mesh has the indices i along the block, j across it.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (3131, 2) float32 | side of the mesh | (j / 30, i / 100): the undeformed mesh as a unit square |
| die.npy | (3131, 1) float32 | unit of the source | shape of the die above the points of a column |
| deformation.npy | (20 x 3131, 4) float32 | unit of the source | position (x, y), displacement (x, y), time by time |

Source: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for PDEs on
General Geometries", JMLR 24 (2023) 1-26. Download: the Google Drive folder that
https://github.com/neuraloperator/Geo-FNO names (PDE benchmarks), `plasticity/plas_N987_T20.mat`. No licence is stated
with the data. Protocol 900/80 (Geo-FNO, Transolver, Erwin): the first 900 of the 987 blocks train, the last 80 test;
the others are not used and not written. `holdout` (a tenth of `train`, drawn by `numpy.random.RandomState(1)`) is part
of `train`: these blocks serve as validation unless the papers' way (validation = test) is asked for. Statistics of the
whole training split (`train`, holdout included) are in `stats.json`; Erwin's constants, for all four channels alike,
are mean -4.4049 and standard deviation 14.3477.
"""


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


def prepare_plasticity(
    src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False, allow_partial: bool = False
) -> None:
    """Write the prepared folder ``dst`` from the file ``src``; finished blocks of an earlier run are kept.

    Args:
        src: ``plas_N987_T20.mat`` (all of it is held in memory: 2 GB), or a folder that holds it.
        allow_partial: accept another number of blocks than 987, as protocol "partial".

    Raises:
        InputError: missing, foreign, damaged or wrongly turned file, NaN, other data in ``dst``.
    """
    path = find_raw_file(src)
    die, deformation = read_blocks(path)
    names = [f"block_{i:04d}" for i in range(len(die))]
    counts = (NUM_TRAIN, NUM_TEST) if len(die) == NUM_BLOCKS else None
    protocols = ends_protocols(names, "blocks", (PROTOCOL,), counts, "" if allow_partial else f"{NUM_BLOCKS}")
    rows, columns = SHAPE
    grid = np.stack(np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij"), axis=-1)
    coord = grid[..., ::-1].reshape(-1, 2)  # j / 30, i / 100

    def load(name: str) -> tuple[Arrays, str]:
        i = int(name.removeprefix("block_"))
        arrays = {
            "coord": coord,
            "die": np.repeat(die[i], columns)[:, None],
            "deformation": deformation[i].transpose(2, 0, 1, 3).reshape(-1, 4),
        }
        return arrays, f"{path} block {i}"

    write_samples(dst, protocols, FIELDS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="blocks")


def find_raw_file(src: str | None) -> Path:
    """Return the raw file.

    Raises:
        InputError: it is not there.
    """
    candidates = ("", "plas_N987_T20.mat", "plasticity/plas_N987_T20.mat") if src is not None else ()
    for candidate in candidates:
        path = Path(str(src)) / candidate if candidate else Path(str(src))
        if path.is_file():
            return path
    raise InputError(f"--src: got {src!r}, wanted plas_N987_T20.mat or its folder")


def read_blocks(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the dies (B, 101) and deformations (B, 101, 31, 20, 4) of a MATLAB file.

    Raises:
        InputError: foreign or damaged file, arrays missing or of other shapes.
    """
    arrays = read_mat(path, {"input": (None, *SHAPE[:1]), "output": (None, *SHAPE, NUM_TIMES, 4)})
    die, deformation = arrays["input"], arrays["output"]
    if len(die) != len(deformation):
        raise InputError(f"{path}: 'input' has {len(die)} blocks, 'output' {len(deformation)}, wanted as many")
    return die, deformation
