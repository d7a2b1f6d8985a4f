"""Cosmology: velocities of dark matter halos from their positions.

Data: J. Balla, S. Mishra-Sharma, C. Cuesta-Lazaro, T. Jaakkola, T. Smidt, "A Cosmic-Scale Benchmark for
Symmetry-Preserving Data Processing", 2024: the 5000 heaviest halos of each of many Quijote simulations.
Raw data become the prepared folder by ``tools/prepare_data.py cosmology``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.samples import Arrays, write_samples
from pointcept_bsa.datasets.prepare.tfrecord import RecordSpan, parse_example, read_record, scan_records
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

COUNTS = {"train": 8192, "val": 512, "test": 512}
PROTOCOL = "8192/512/512"
# As the published code normalises; configs/_base_/cosmology.py standardises the positions with these.
POSITION = {
    "mean": [499.91877075908684, 500.0947802559321, 499.964508664328],
    "std": [288.71092533309235, 288.7525818573022, 288.70234893905575],
}
VELOCITY = {
    "mean": [-0.0512854365234889, -0.01263126442198149, -0.06458034372345466],
    "std": [344.0231468131901, 343.9333673335964, 344.071876710777],
}
FIELDS = ("coord", "velocity")
COLUMNS = {"coord": ("x", "y", "z"), "velocity": ("v_x", "v_y", "v_z")}
CARD = """# Cosmology, prepared

The heaviest dark matter halos of simulated universes; one folder a simulation, written by
`tools/prepare_data.py cosmology`. `train/00012` is the 13th record of the training files in the order of their names.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (5000, 3) float32 | Mpc/h (comoving) | position in the periodic box of 1000 Mpc/h |
| velocity.npy | (5000, 3) float32 | km/s | peculiar velocity |

Source: J. Balla, S. Mishra-Sharma, C. Cuesta-Lazaro, T. Jaakkola, T. Smidt, "A Cosmic-Scale Benchmark for
Symmetry-Preserving Data Processing", 2024, from the Quijote simulations (F. Villaescusa-Navarro et al., ApJS 250 (2020)
2). Download: https://zenodo.org/records/11479419 (about 7 GB; the licence is stated there).
Protocol 8192/512/512 (Erwin): the first 8192, 512 and 512 records of the files `halos*{train,val,test}*.tfrecord`.
Statistics of the training split are in `stats.json`; the published constants of the velocity are mean (-.0513, -.0126,
-.0646) and standard deviation (344.023, 343.933, 344.072).
"""


@DATASETS.register_module()
class CosmologyDataset(FolderDataset):
    """Halos of a simulation (5000, 3) -> velocity (5000, 3).

    Positions in a periodic box of 1000 Mpc/h; the model is told nothing of the periodicity.

    Args:
        data_root: the folder that ``tools/prepare_data.py cosmology`` made.
        protocol: "8192/512/512": the first so many simulations of each of the three sets of files (Erwin); "partial";
            None: the default that the prepared folder names.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol.
    """

    name = "cosmology"
    command = "cosmology"
    raw = "folder of halos*.tfrecord"
    columns = {"velocity": 3}
    target_fields = ("velocity",)
    target_names = ("velocity_x", "velocity_y", "velocity_z")
    target_units = ("km/s",) * 3
    published = {PROTOCOL: VELOCITY}

    def __init__(self, split: str = "train", data_root: str = "data/cosmology", **common: Any) -> None:
        super().__init__(split, data_root, **common)

    def notes(self) -> list[str]:
        return ["published errors are the MSE of the standardised velocity: divide by the variance of the target"]


def prepare_cosmology(
    src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False, allow_partial: bool = False
) -> None:
    """Write the prepared folder ``dst`` from the raw folder ``src``; finished samples of an earlier run are kept.

    Args:
        src: folder of ``halos*{train,val,test}*.tfrecord``.
        allow_partial: accept fewer records than the protocol has, as protocol "partial".

    Raises:
        InputError: missing, truncated, damaged or foreign files, NaN, other data in ``dst``.
    """
    places = {split: find_records(src, split) for split in COUNTS}
    short = [
        f"{split} {len(places[split])} of {count}" for split, count in COUNTS.items() if len(places[split]) < count
    ]
    if short and not allow_partial:
        raise InputError(
            f"--src: {src} has fewer records than protocol {PROTOCOL} wants ({', '.join(short)}); "
            "--allow-partial prepares what is there as protocol 'partial'"
        )
    records = {f"{split}/{i:05d}": place for split in COUNTS for i, place in enumerate(places[split][: COUNTS[split]])}
    parts = {split: [name for name in records if name.startswith(f"{split}/")] for split in COUNTS}

    def load(name: str) -> tuple[Arrays, str]:
        return read_halos(records[name]), str(records[name])

    protocols = {"partial" if short else PROTOCOL: parts}
    write_samples(dst, protocols, FIELDS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="simulations")


def find_records(src: str | None, split: str) -> list[RecordSpan]:
    """Return the places of the records of ``halos*{split}*.tfrecord`` in ``src``, files in the order of their names.

    Raises:
        InputError: no such file, or a damaged one.
    """
    files = sorted(Path(src).glob(f"halos*{split}*.tfrecord")) if src is not None else []
    if not files:
        raise InputError(f"--src: {src!r} has no halos*{split}*.tfrecord, wanted the folder of the downloaded files")
    return [place for file in files for place in scan_records(file)]


def read_halos(place: RecordSpan) -> dict[str, np.ndarray]:
    """Return ``coord`` and ``velocity`` (N, 3) of one record.

    Raises:
        InputError: damaged or foreign record, columns of unequal length.
    """
    names = tuple(column for columns in COLUMNS.values() for column in columns)
    tensors = parse_example(read_record(place), names, place)
    shapes = {name: tensors[name].shape for name in names}
    if len(set(shapes.values())) != 1 or len(shapes["x"]) != 1:
        raise InputError(f"{place}: features have shapes {shapes}, wanted the same number of halos in each")
    return {field: np.stack([tensors[c] for c in columns], axis=1) for field, columns in COLUMNS.items()}
