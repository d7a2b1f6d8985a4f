"""Periodic hills: from ``periodic_hills_29.npz`` to the prepared folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.arrays import check_finite
from pointcept_bsa.datasets.base import SPLITS
from pointcept_bsa.datasets.periodic_hills import FIELDS, PROTOCOL, HillsFile
from pointcept_bsa.datasets.prepare.layout import finish, is_finished, refuse_other_data, write_sample
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.progress import Progress

ARRAYS = ("coord", *FIELDS)
CARD = """# Periodic hills, prepared

Mean flow over 29 parameterised periodic hills at Re_H = 5600; one folder a geometry, written by
`tools/prepare_data.py periodic_hills`.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (N, 2) float32 | H | cell centres; H is the height of the hill |
| wall_distance.npy | (N, 1) float32 | H | distance to the wall, geometry only |
| rans_velocity.npy | (N, 2) float32 | U_b | k-omega SST baseline on the same mesh |
| dns_velocity.npy | (N, 2) float32 | U_b | mean velocity of the DNS; U_b is the bulk velocity over the crest |
| dns_k.npy | (N, 1) float32 | U_b^2 | turbulent kinetic energy |

Source: H. Xiao, J.-L. Wu, S. Laizet, L. Duan, "Flows over periodic hills of parameterized geometries: A dataset for
data-driven turbulence modeling from direct simulations", Computers & Fluids 200 (2020) 104431. The source repository of
the fields states no licence: for internal use. Statistics of the training split are in `stats.json`.
"""


def prepare_periodic_hills(src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False) -> None:
    """Write the prepared folder ``dst`` from the file ``src``; finished samples of an earlier run are kept.

    Raises:
        InputError: missing or foreign file, NaN in it, other data in ``dst``.
    """
    if src is None or not Path(src).is_file():
        raise InputError(f"--src: got {src!r}, wanted the file periodic_hills_29.npz")
    root = Path(dst)
    file = HillsFile(Path(src))
    parts = {split: file.names(split) for split in SPLITS}
    names = [name for part in parts.values() for name in part]
    refuse_other_data(root, names, overwrite)
    todo = [name for name in names if overwrite or not is_finished(root, name, ARRAYS)]
    if dry_run:
        for name in todo:
            _load(file, name)
        print(f"dry run: nothing is written. {len(names)} geometries, {len(todo)} to write into {root}")
        print(f"protocol {PROTOCOL} (default): " + ", ".join(f"{split} {len(part)}" for split, part in parts.items()))
        return
    root.mkdir(parents=True, exist_ok=True)
    progress = Progress("prepare", len(todo), unit="geometries")
    for name in todo:
        write_sample(root, name, _load(file, name))
        progress.update()
    progress.close()
    finish(root, {PROTOCOL: parts}, PROTOCOL, ARRAYS, CARD)
    print(f"prepared {len(names)} geometries in {root} ({len(todo)} written, {len(names) - len(todo)} were there)")


def _load(file: HillsFile, name: str) -> dict[str, np.ndarray]:
    """The arrays of a geometry. Raises InputError for NaN in them."""
    arrays = {field: file.read(name, field) for field in ARRAYS}
    for field, values in arrays.items():
        check_finite(values, field, file.where(name, field))
    return arrays
