"""Polymer molecular dynamics: from the HDF5 files of Fu et al. to the prepared folder.

Letters: T frames, N beads, E bonds.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.arrays import read_npy
from pointcept_bsa.datasets.base import SPLITS, split_hash
from pointcept_bsa.datasets.molecular_dynamics import COUNTS, FRAMES, NUM_TYPES, PROTOCOL, WINDOW
from pointcept_bsa.datasets.prepare.hdf5 import read_hdf5
from pointcept_bsa.datasets.prepare.layout import finish, is_finished, refuse_other_data, write_sample
from pointcept_bsa.datasets.prepared import sample_folder_name
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.datasets.windows import neighbor_table
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.progress import Progress

FIELDS = ("position", "particle_type", "bonds")
FOLDERS = {"train": "polymer_train", "val": "polymer_train", "test": "polymer_test"}
LISTS = {"train": "train.txt", "val": "val.txt", "test": "test_class2.txt"}
# Of the lists in the repository of Fu et al., by ``split_hash``.
PUBLISHED_LISTS = {"train": "f47b5332e110baab", "val": "704301dffc6c356d", "test": "b825bc2665eb7fc2"}
NAME = re.compile(r"\w[\w-]*", re.ASCII)
SPREAD = 2.0  # velocities of two splits whose standard deviations differ by more than this factor are said aloud
CARD = """# Polymer molecular dynamics, prepared

Trajectories of single coarse-grained polymer chains in implicit solvent (LAMMPS, reduced units); one folder a
trajectory, written by `tools/prepare_data.py md`.

| file | shape | unit | meaning |
|---|---|---|---|
| position.npy | (T, N, 3) float32 | length unit of the simulation | beads, about their mean over all frames kept |
| particle_type.npy | (N,) int64 | | kind of bead: 0 to 3 |
| bonds.npy | (E, 2) int64 | | pairs of bonded beads |

A frame is 5 tau of the simulation in the training trajectories. Velocities are differences of successive frames,
accelerations differences of successive velocities: statistics of all three over the training trajectories are in
`stats.json`. The published constants (Erwin) have mean 0 and standard deviations (21.4457, 31.7121, 25.5143),
(1.2809, 1.2735, 1.2792), (1.7428, 1.7295, 1.7390).

Source: X. Fu, T. Xie, N. J. Rebello, B. Olsen, T. Jaakkola, "Simulate Time-integrated Coarse-grained Molecular Dynamics
with Multi-scale Graph Networks", TMLR 2023, after M. A. Webb, N. E. Jackson, P. S. Gil, J. J. de Pablo, Science
Advances 6 (2020) eabc6216. Download: https://zenodo.org/records/6764836 (13 GB; the licence is stated there) gives
`polymer_train` and `polymer_test`; the lists `train.txt`, `val.txt`, `test_class2.txt` are in the folder
`graphwm/splits/chain` of https://github.com/kyonofx/mlcgmd (MIT): put them into `splits` beside the two.

Protocol 90/10/40 (Erwin, Erwin-NSA): these lists; the first 10,000 frames of each trajectory of training and
validation, the first 1,000 of each of the test, whose polymers are of another class. The repository's README says that
its test trajectories are recorded every 500 tau: the table below tells whether a frame is the same time in all splits.
"""


def prepare_md(
    src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False, allow_partial: bool = False
) -> None:
    """Write the prepared folder ``dst`` from the raw folder ``src``; finished trajectories of an earlier run are kept.

    Args:
        src: folder of ``polymer_train/<name>``, ``polymer_test/<name>`` (each with ``position.h5``, ``ptype.h5``,
            ``bond.h5``) and ``splits/{train,val,test_class2}.txt``.
        allow_partial: accept other lists and shorter trajectories, as protocol "partial".

    Raises:
        InputError: missing, damaged or foreign files, other lists than the published ones, NaN, other data in ``dst``.
    """
    raw, root = Path(str(src)), Path(dst)
    lists = read_lists(src, allow_partial)
    places = {name: (part, raw / FOLDERS[part] / name) for part in SPLITS for name in lists[part]}
    refuse_other_data(root, places, overwrite)
    todo = [name for name in places if overwrite or not is_finished(root, name, FIELDS)]
    if dry_run:
        for part, folder in places.values():
            read_trajectory(folder, part, allow_partial)
        counts = ", ".join(f"{part} {len(names)}" for part, names in lists.items())
        print(f"dry run: nothing is written. {len(places)} trajectories ({counts}), {len(todo)} to write into {root}")
        return
    root.mkdir(parents=True, exist_ok=True)
    progress = Progress("prepare", len(todo), unit="trajectories")
    for name in todo:
        part, folder = places[name]
        write_sample(root, name, read_trajectory(folder, part, allow_partial))
        progress.update()
    progress.close()
    protocol = PROTOCOL if is_published(root, lists) else "partial"
    statistics = {part: trajectory_statistics(root, lists[part]) for part in SPLITS}
    content = {"protocols": {protocol: {"samples": len(lists["train"]), "fields": statistics["train"]}}}
    finish(root, {protocol: lists}, protocol, FIELDS, CARD + spread_table(statistics), content)
    print(f"prepared {len(places)} trajectories in {root} ({len(todo)} written, {len(places) - len(todo)} were there)")
    for warning in spread_warnings(statistics):
        print(f"warning: {warning}", file=sys.stderr)


def read_lists(src: str | None, allow_partial: bool) -> dict[str, list[str]]:
    """Return the names of the trajectories of each split.

    Raises:
        InputError: a list is missing, empty or not the published one, a name comes twice or is no name of a folder.
    """
    if src is None or not (Path(src) / "splits").is_dir():
        raise InputError(f"--src: got {src!r}, wanted a folder with polymer_train, polymer_test and splits")
    lists = {part: _read_list(Path(src) / "splits" / file) for part, file in LISTS.items()}
    names = [name for part in SPLITS for name in lists[part]]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{Path(src) / 'splits'}: {twice!r} is named twice, wanted every trajectory once")
    other = [f"{LISTS[part]} ({len(lists[part])})" for part in other_lists(lists)]
    if other and not allow_partial:
        raise InputError(
            f"{Path(src) / 'splits'}: {', '.join(other)} is not as published, wanted lists of {COUNTS} trajectories "
            f"(protocol {PROTOCOL}); --allow-partial prepares what is there as protocol 'partial'"
        )
    return lists


def other_lists(lists: dict[str, list[str]]) -> list[str]:
    """Return the splits whose trajectories are not the published ones."""
    return [part for part in SPLITS if split_hash(lists[part]) != PUBLISHED_LISTS[part]]


def is_published(root: Path, lists: dict[str, list[str]]) -> bool:
    """Tell whether a prepared folder has the published trajectories, each with all the frames that are used."""
    enough = all(len(_position(root, name)) >= FRAMES[part] for part in SPLITS for name in lists[part])
    return enough and not other_lists(lists)


def _position(root: Path, name: str) -> np.ndarray:
    return read_npy(root / sample_folder_name(name) / "position.npy", (None, None, 3))


def _read_list(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a list of trajectories") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text, wanted a list of trajectories, one a line") from None
    bad = [name for name in names if not NAME.fullmatch(name)]
    if bad or not names:
        raise InputError(
            f"{path}: has {len(names)} names{f', one is {bad[0]!r}' if bad else ''}, wanted names of folders"
        )
    return names


def read_trajectory(folder: Path, part: str, allow_partial: bool) -> dict[str, np.ndarray]:
    """Return ``position`` (T, N, 3) float32, ``particle_type`` (N,), ``bonds`` (E, 2) of one raw trajectory.

    Raises:
        InputError: missing, damaged or foreign files, arrays that do not fit each other, too few frames.
    """
    position = read_hdf5(folder / "position.h5", "position", (None, None, 3))
    frames, beads = position.shape[:2]
    wanted = WINDOW if allow_partial else FRAMES[part]
    if frames < wanted or beads == 0:
        raise InputError(
            f"{folder / 'position.h5'}: has {frames} frames of {beads} beads, wanted at least {wanted} frames ({part})"
        )
    kinds = read_hdf5(folder / "ptype.h5", "particle_type", kind="iu").reshape(-1)
    if len(kinds) != beads or kinds.min() < 0 or kinds.max() >= NUM_TYPES:
        raise InputError(
            f"{folder / 'ptype.h5'}: has {len(kinds)} types from {kinds.min(initial=0)} to {kinds.max(initial=0)}, "
            f"wanted {beads} from 0 to {NUM_TYPES - 1}"
        )
    bonds = read_hdf5(folder / "bond.h5", "bond_indices", (None, 2), kind="iuf")  # made by a table of floats
    if not np.array_equal(bonds, np.rint(bonds)):
        raise InputError(f"{folder / 'bond.h5'}: 'bond_indices' has fractions, wanted whole numbers")
    bonds = bonds.astype(np.int64)
    try:
        neighbor_table(bonds, beads)
    except ValueError as error:
        raise InputError(f"{folder / 'bond.h5'}: 'bond_indices' {error}") from None
    kept = position[: FRAMES[part]].astype(np.float64)
    return {
        "position": (kept - kept.mean(axis=(0, 1))).astype(np.float32),
        "particle_type": kinds.astype(np.int64),
        "bonds": bonds,
    }


def trajectory_statistics(root: Path, names: list[str]) -> dict[str, Any]:
    """Return mean, std, min, max of position, velocity and acceleration over trajectories of a prepared folder."""
    fields = {field: RunningStatistics() for field in ("position", "velocity", "acceleration")}
    for name in sorted(names):
        values = np.asarray(_position(root, name), dtype=np.float64)
        for statistics in fields.values():
            statistics.update(values.reshape(-1, 3))
            values = np.diff(values, axis=0)
    return {field: statistics.result() for field, statistics in fields.items()}


def spread_table(statistics: dict[str, dict[str, Any]]) -> str:
    rows = ["", "| split | std of the velocity (x, y, z), length / frame | std of the acceleration |", "|---|---|---|"]
    for part, fields in statistics.items():
        shown = ["(" + ", ".join(f"{s:.4g}" for s in fields[f]["std"]) + ")" for f in ("velocity", "acceleration")]
        rows.append(f"| {part} | {shown[0]} | {shown[1]} |")
    return "\n".join(rows) + "\n"


def spread_warnings(statistics: dict[str, dict[str, Any]]) -> list[str]:
    """Say which splits move at another speed than the training split does: their frames are not the same time apart."""
    speed = {part: float(np.linalg.norm(fields["velocity"]["std"])) for part, fields in statistics.items()}
    ratio = {part: speed[part] / max(speed["train"], 1e-30) for part in ("val", "test")}
    return [
        f"velocities of split {part} have {value:.3g} times the spread of the training split: "
        "a frame may not be the same time there"
        for part, value in ratio.items()
        if not 1 / SPREAD <= value <= SPREAD
    ]
