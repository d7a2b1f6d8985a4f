"""Elasticity: stress in a unit cell with a random void.

Data: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for PDEs on General
Geometries" (Geo-FNO), JMLR 24 (2023) 1-26. Raw data become the prepared folder by ``tools/prepare_data.py elasticity``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pointcept_bsa.datasets.arrays import read_npy
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.samples import Arrays, write_samples
from pointcept_bsa.datasets.prepare.splits import ends_protocols
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

NUM_MESHES = 2000
NUM_TRAIN = 1000
NUM_TEST = 200
PROTOCOL = "1000/200"
FILES = ("Random_UnitCell_XY_10.npy", "Random_UnitCell_sigma_10.npy")
FOLDERS = ("", "Meshes", "elasticity/Meshes")
FIELDS = ("coord", "stress")
CARD = """# Elasticity, prepared

Stress of a hyperelastic unit cell with a void of random shape, clamped at the bottom and pulled at the top; one folder
a mesh, written by `tools/prepare_data.py elasticity`.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (972, 2) float32 | side of the cell | points of the mesh |
| stress.npy | (972, 1) float32 | unit of the source | stress |

Source: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for PDEs on
General Geometries", JMLR 24 (2023) 1-26. Download: the Google Drive folder that
https://github.com/neuraloperator/Geo-FNO names (PDE benchmarks),
`elasticity/Meshes/Random_UnitCell_{XY,sigma}_10.npy`. No licence is stated with the data. Protocol 1000/200: the first
1000 of the 2000 meshes train, the last 200 test, the 800 between are not used and not written. `holdout` (a tenth of
`train`, drawn by `numpy.random.RandomState(1)`) is part of `train`: these samples serve as validation unless the
papers' way (validation = test) is asked for. Statistics of the whole training split (`train`, holdout included) are in
`stats.json`; the papers' constants are mean 187.7388 and standard deviation 127.0829.
"""


@DATASETS.register_module()
class ElasticityDataset(FolderDataset):
    """Points of a unit cell around a void (972, 2) -> stress (972, 1).

    Args:
        data_root: the folder that ``tools/prepare_data.py elasticity`` made.
        protocol: "1000/200": the first 1000 meshes train, the last 200 test (Geo-FNO, Transolver, Erwin, BSA);
            "partial"; None: the default that the prepared folder names.
        validation: "holdout": validation samples are drawn from the training samples and left out of training;
            "test": the papers' way: train on the whole training split, validate on the test samples.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol or validation.
    """

    name = "elasticity"
    command = "elasticity"
    raw = "folder of Random_UnitCell_XY_10.npy and Random_UnitCell_sigma_10.npy"
    dimensions = 2
    columns = {"stress": 1}
    target_fields = ("stress",)
    target_names = ("stress",)
    target_units = ("unit of the source",)
    published = {PROTOCOL: {"mean": [187.7388], "std": [127.0829]}}  # as Erwin and BSA normalise

    def __init__(self, split: str = "train", data_root: str = "data/elasticity", **common: Any) -> None:
        super().__init__(split, data_root, **common)


def prepare_elasticity(
    src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False, allow_partial: bool = False
) -> None:
    """Write the prepared folder ``dst`` from the raw folder ``src``; finished samples of an earlier run are kept.

    Args:
        src: the folder of the two files, or one that holds it as ``Meshes`` or ``elasticity/Meshes``.
        allow_partial: accept another number of meshes than 2000, as protocol "partial".

    Raises:
        InputError: missing, foreign, truncated or wrongly turned files, NaN, other data in ``dst``.
    """
    xy_file, stress_file = find_raw_files(src)
    xy, stress = read_npy(xy_file), read_npy(stress_file)
    if xy.ndim != 3 or xy.shape[1] != 2:
        raise InputError(f"{xy_file}: has shape {xy.shape}, wanted (points, 2, meshes), as (972, 2, 2000)")
    if stress.shape != (xy.shape[0], xy.shape[2]):
        raise InputError(
            f"{stress_file}: has shape {stress.shape}, wanted {(xy.shape[0], xy.shape[2])} (points, meshes) "
            f"as {xy_file.name} has"
        )
    count = xy.shape[2]
    names = [f"mesh_{i:04d}" for i in range(count)]
    counts = (NUM_TRAIN, NUM_TEST) if count == NUM_MESHES else None
    protocols = ends_protocols(names, "meshes", (PROTOCOL,), counts, "" if allow_partial else f"{NUM_MESHES}")

    def load(name: str) -> tuple[Arrays, str]:
        i = int(name.removeprefix("mesh_"))
        return {"coord": xy[:, :, i], "stress": stress[:, i, None]}, f"{xy_file.parent} mesh {i}"

    write_samples(dst, protocols, FIELDS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="meshes")


def find_raw_files(src: str | None) -> list[Path]:
    """Return the two raw files.

    Raises:
        InputError: they are not there.
    """
    for folder in FOLDERS if src is not None else ():
        files = [Path(str(src)) / folder / name for name in FILES]
        if all(file.is_file() for file in files):
            return files
    raise InputError(f"--src: got {src!r}, wanted a folder with {' and '.join(FILES)}")
