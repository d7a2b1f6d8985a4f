"""N-body box: velocities of dark matter particles from their positions.

Data: a small box of the Abacus N-body code (64^3 particles in 32 Mpc/h, redshift 0), from the tests of abacusutils:
L. H. Garrison et al., "The Abacus cosmological N-body code", MNRAS 508 (2021) 575; N. A. Maksimova et al.,
"AbacusSummit", MNRAS 508 (2021) 4017. Not the benchmark of Balla et al.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.arrays import check_finite, read_npz
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.samples import Arrays, check_shapes, source_file, write_samples
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

SIDE = 8.0  # of a sub-box, Mpc/h
FIELDS = ("coord", "velocity")
CARD = """# N-body box, prepared

Dark matter particles of a small cosmological simulation, cut into sub-boxes of 8 Mpc/h; one folder a sub-box, written
by `tools/prepare_data.py nbody`. `box_i_j_k` is the sub-box number i, j, k along x, y, z, counted from the lower
corner.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (N, 3) float32 | Mpc/h (comoving) | position from the lower corner of the sub-box, 0 to 8 |
| velocity.npy | (N, 3) float32 | km/s | proper peculiar velocity |

Source: abacusutils, https://github.com/abacusorg/abacusutils (GPL-3.0), `tests/Mini_N64_L32`, converted to
`abacus_mini_n64_l32.npz`: Abacus N-body code, 64^3 particles, periodic box of 32 Mpc/h, redshift 0. Cite L. H. Garrison
et al., MNRAS 508 (2021) 575 and N. A. Maksimova et al., MNRAS 508 (2021) 4017.
There is no official split. Here: slabs of sub-boxes along x; the last is the test, the one before it validation, the
others training. The box is periodic: the test slab touches a training slab, and large structures cross all of them.
The largest clusters lie in the training slabs: the standard deviation of the velocity (a component, about the slab's
mean) is 293 and 245 km/s there, 162 km/s in the slabs of validation and test.
Not the benchmark of Balla et al.
Statistics of the training split are in `stats.json`.
"""


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


def prepare_nbody(src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False) -> None:
    """Write the prepared folder ``dst`` from the file ``src``; finished samples of an earlier run are kept.

    Raises:
        InputError: missing or foreign file, particles outside the box, an empty sub-box, other data in ``dst``.
    """
    path = source_file(src, "abacus_mini_n64_l32.npz")
    arrays = read_npz(path, ("particle_pos", "particle_vel", "box_size"))
    position, velocity = arrays["particle_pos"], arrays["particle_vel"]
    check_shapes(
        path,
        arrays,
        {"particle_pos": (None, 3), "particle_vel": (len(position), 3), "box_size": ()},
    )
    local, cell, side = cut_into_cells(position, float(arrays["box_size"]), path)
    number = np.ravel_multi_index(tuple(cell.T), (side,) * 3)
    order = np.argsort(number, kind="stable")
    bounds = np.searchsorted(number[order], np.arange(side**3 + 1))
    names = ["box_{}_{}_{}".format(*np.unravel_index(i, (side,) * 3)) for i in range(side**3)]
    index = {name: i for i, name in enumerate(names)}

    def load(name: str) -> tuple[Arrays, str]:
        i = index[name]
        rows = order[bounds[i] : bounds[i + 1]]
        return {"coord": local[rows], "velocity": velocity[rows]}, f"{path} sub-box {name}"

    protocols = {f"slabs of {SIDE:g} Mpc/h along x": slab_split(names, side)}
    write_samples(dst, protocols, FIELDS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="sub-boxes")


def cut_into_cells(position: np.ndarray, box: float, path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Cut a periodic box, centred on 0, into cubes of ``SIDE``.

    Args:
        position: (N, 3), from -box/2 to box/2 (rounding beyond is wrapped).
        box: side of the box, Mpc/h.
        path: the file, for errors.

    Returns:
        Positions from the cube's lower corner (N, 3) float64, the cubes' numbers along x, y, z (N, 3), cubes a side.

    Raises:
        InputError: NaN, a particle outside, a side that is not at least 3 times ``SIDE`` exactly.
    """
    check_finite(position, "particle_pos", path)
    side = round(box / SIDE) if np.isfinite(box) else 0
    if side < 3 or abs(side * SIDE - box) > 1e-6 * box:
        raise InputError(f"{path}: 'box_size' is {box:g} Mpc/h, wanted a multiple of {SIDE:g} of at least {3 * SIDE:g}")
    if np.abs(position).max(initial=0.0) > 0.5 * box * (1 + 1e-5):
        raise InputError(f"{path}: 'particle_pos' reaches {np.abs(position).max():g}, wanted at most {box / 2:g}")
    wrapped = np.mod(position.astype(np.float64) + 0.5 * box, box)
    cell = np.minimum((wrapped / SIDE).astype(np.int64), side - 1)
    return wrapped - SIDE * cell, cell, side


def slab_split(names: list[str], side: int) -> dict[str, list[str]]:
    """Return the parts by the cube's number along x, the slowest of the three in ``names``."""
    slab = len(names) // side
    return {
        "train": names[: slab * (side - 2)],
        "val": names[slab * (side - 2) : slab * (side - 1)],
        "test": names[slab * (side - 1) :],
    }
