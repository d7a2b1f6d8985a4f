"""Molecular dynamics: accelerations of the beads of a polymer from their past velocities.

Data: single chains of coarse-grained polymers in implicit solvent: M. A. Webb, N. E. Jackson, P. S. Gil, J. J. de
Pablo, "Targeted sequence design within the coarse-grained polymer genome", Science Advances 6 (2020) eabc6216; as
trajectories for learning: X. Fu, T. Xie, N. J. Rebello, B. Olsen, T. Jaakkola, "Simulate Time-integrated Coarse-grained
Molecular Dynamics with Multi-scale Graph Networks", TMLR 2023. Raw data become the prepared folder by
``tools/prepare_data.py md``.

Letters: T frames, N beads, E bonds, k bonds of a bead.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.arguments.carried import command_line
from pointcept_bsa.datasets.arrays import read_npy
from pointcept_bsa.datasets.base import SPLITS, PointFieldDataset
from pointcept_bsa.datasets.prepare.hdf5 import read_hdf5
from pointcept_bsa.datasets.prepare.layout import finish
from pointcept_bsa.datasets.prepare.samples import write_listed
from pointcept_bsa.datasets.prepare.splits import other_lists, read_lists
from pointcept_bsa.datasets.prepared import PreparedFolder, sample_folder_name
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.datasets.windows import WindowNames, neighbor_table
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

HISTORY = 16  # frames that are known, the last of them the present
WINDOW = HISTORY + 1
NUM_TYPES = 4
PROTOCOL = "90/10/40"
COUNTS = {"train": 90, "val": 10, "test": 40}
FRAMES = {"train": 10000, "val": 10000, "test": 1000}  # used of each trajectory
# As the published Erwin code normalises, without means; configs/_base_/md.py scales positions and velocities so.
PUBLISHED_STD = {
    "position": [21.4457, 31.7121, 25.5143],
    "velocity": [1.2809, 1.2735, 1.2792],
    "acceleration": [1.7428, 1.7295, 1.7390],
}
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


@DATASETS.register_module()
class MolecularDynamicsDataset(PointFieldDataset):
    """Windows of 17 frames of a polymer's trajectory -> the acceleration that leads from the 16th to the last.

    A frame is the unit of time: velocities are differences of successive positions, the target (N, 3) is
    x[t+1] - 2 x[t] + x[t-1]. A sample has, of the first 16 frames alone: ``coord (N, 3)``, the present positions;
    ``velocity (N, 45)``, the 15 past velocities, the oldest first; ``particle_type (N, 4)``, one of four kinds of beads
    as 0 and 1; ``neighbor_index (N, k)``, the beads it is bonded to, -1 for none: edges of the message passing.

    Args:
        data_root: the folder that ``tools/prepare_data.py md`` made.
        protocol: "90/10/40": the trajectories of Fu et al. (training and validation: 10,000 frames, test: 1,000 frames
            of other, "class 2", polymers), as Erwin and Erwin-NSA; "partial"; None: the prepared folder's default.
        stride: frames from one window to the next. 1: all windows, as published.
        noise: (largest, smallest, levels): each window of the training split gets Gaussian noise on its 16 known
            positions, of a standard deviation drawn from so many levels in equal ratios; the next position stays as it
            is, so that the target makes good for the noise. Fu et al. train with (0.1, 0.01, 10); the published Erwin
            code has the same in it but never calls it. None: no noise.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, a trajectory shorter than a window, an unknown protocol.
    """

    name = "molecular_dynamics"
    target_fields = ("acceleration",)
    target_names = ("acceleration_x", "acceleration_y", "acceleration_z")
    target_units = ("length unit of the simulation / frame^2",) * 3

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/md",
        protocol: str | None = None,
        stride: int = 1,
        noise: Sequence[float] | None = None,
        **common: Any,
    ) -> None:
        if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
            raise InputError(f"stride: got {stride!r}, wanted an integer of at least 1")
        self.noise_levels = check_noise(noise) if split == "train" else None
        self.stride = stride
        raw = "<folder of polymer_train, polymer_test, splits>"
        hint = command_line("prepare_data", "md", "--src", raw, "--dst", data_root)
        self.folder = PreparedFolder(data_root, hint)
        self.protocol = self.folder.choose_protocol(protocol)
        super().__init__(split=split, data_root=data_root, **common)
        self._chains = {name: self._read_chain(name) for name in self.trajectories}
        self.max_bonds = max((table.shape[1] for table, _ in self._chains.values()), default=0)

    def list_samples(self) -> Sequence[str]:
        self.trajectories = list(self.folder.split(self.protocol)[self.split])
        counts = []
        for name in self.trajectories:
            frames = len(self.positions(name))
            if frames < WINDOW:
                raise InputError(f"{self.folder.file(name, 'position')}: has {frames} frames, wanted at least {WINDOW}")
            counts.append((frames - WINDOW) // self.stride + 1)
        return WindowNames(self.trajectories, counts, self.stride)

    def load_fields(self, index: int) -> dict[str, Any]:
        assert isinstance(self.data_list, WindowNames)
        name, start = self.data_list.place(index)
        frames = np.array(self.positions(name)[start : start + WINDOW], dtype=np.float64)  # (17, N, 3)
        if self.noise_levels is not None:
            frames[:HISTORY] += np.random.choice(self.noise_levels) * np.random.standard_normal(frames[:HISTORY].shape)
        return {**self.inputs(name, frames[:HISTORY]), "acceleration": frames[-1] - 2 * frames[-2] + frames[-3]}

    def positions(self, trajectory: str) -> np.ndarray:
        """The frames of a trajectory: (T, N, 3) float32, mapped from disk."""
        return self.folder.read(trajectory, "position", (None, None, 3))

    def bonds(self, trajectory: str) -> np.ndarray:
        """The bonds of a trajectory's chain: (E, 2) beads."""
        return np.array(self.folder.read(trajectory, "bonds", (None, 2), kind="i"))

    def inputs(self, trajectory: str, history: np.ndarray) -> dict[str, np.ndarray]:
        """What a network gets to know: the fields of a sample but the target, from positions (16, N, 3)."""
        neighbors, kinds = self._chains[trajectory]
        table = np.pad(neighbors, ((0, 0), (0, self.max_bonds - neighbors.shape[1])), constant_values=-1)
        velocity = np.diff(history, axis=0).transpose(1, 0, 2)  # (N, 15, 3)
        return {
            "coord": history[-1],
            "velocity": velocity.reshape(len(neighbors), -1),
            "particle_type": np.eye(NUM_TYPES, dtype=np.float32)[kinds],
            "neighbor_index": table,
        }

    def where(self, index: int, field: str) -> str:
        return f"{self.folder.root} window {self.data_list[index]}"

    def target_statistics(self) -> dict[str, Any]:
        if self.protocol == PROTOCOL:
            return {
                "mean": [0.0] * 3,
                "std": PUBLISHED_STD["acceleration"],
                "source": f"published constants, protocol {PROTOCOL}",
            }
        found = self.folder.field_statistics(self.protocol, "acceleration")
        return {"mean": found["mean"], "std": found["std"], "source": f"training split, protocol {self.protocol}"}

    def protocol_name(self) -> str:
        return self.protocol

    def notes(self) -> list[str]:
        notes = [f"{len(self.trajectories)} trajectories", "published NLL and MSE are those of the normalised target"]
        return notes if self.stride == 1 else [*notes, f"every {self.stride}th window only"]

    def _read_chain(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Table of bonded beads (N, k) and kinds (N,) of a trajectory."""
        kinds = np.array(self.folder.read(name, "particle_type", (None,), kind="i"))
        beads = self.positions(name).shape[1]
        if len(kinds) != beads or (beads and not (0 <= kinds.min() and kinds.max() < NUM_TYPES)):
            raise InputError(
                f"{self.folder.file(name, 'particle_type')}: has {len(kinds)} types, wanted {beads} from 0 to 3"
            )
        try:
            return neighbor_table(self.bonds(name), beads), kinds
        except ValueError as error:
            raise InputError(f"{self.folder.file(name, 'bonds')}: {error}") from None


def check_noise(noise: Sequence[float] | None) -> np.ndarray | None:
    """Return the standard deviations of the noise, in equal ratios.

    Raises:
        InputError: not (largest, smallest, levels).
    """
    if noise is None:
        return None
    if len(noise) != 3 or not 0 < noise[1] <= noise[0] < float("inf") or noise[2] < 1 or int(noise[2]) != noise[2]:
        raise InputError(f"noise: got {noise!r}, wanted (largest, smallest, number of levels), as (0.1, 0.01, 10)")
    return np.geomspace(noise[0], noise[1], int(noise[2]))


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
    if src is None or not (Path(src) / "splits").is_dir():
        raise InputError(f"--src: got {src!r}, wanted a folder with polymer_train, polymer_test and splits")
    raw, root = Path(src), Path(dst)
    lists = read_lists(raw / "splits", LISTS, NAME, "trajectory", "names of folders")
    other = [f"{LISTS[part]} ({len(lists[part])})" for part in other_lists(lists, PUBLISHED_LISTS)]
    if other and not allow_partial:
        raise InputError(
            f"{raw / 'splits'}: {', '.join(other)} is not as published, wanted lists of {COUNTS} trajectories "
            f"(protocol {PROTOCOL}); --allow-partial prepares what is there as protocol 'partial'"
        )
    part_of = {name: part for part in SPLITS for name in lists[part]}
    warnings: list[str] = []

    def load(name: str) -> dict[str, np.ndarray]:
        return read_trajectory(raw / FOLDERS[part_of[name]] / name, part_of[name], allow_partial)

    def conclude() -> None:
        protocol = PROTOCOL if is_published(root, lists) else "partial"
        statistics = {part: trajectory_statistics(root, lists[part]) for part in SPLITS}
        content = {"protocols": {protocol: {"samples": len(lists["train"]), "fields": statistics["train"]}}}
        finish(root, {protocol: lists}, protocol, FIELDS, CARD + spread_table(statistics), content)
        warnings.extend(spread_warnings(statistics))

    write_listed(root, lists, FIELDS, load, conclude, dry_run=dry_run, overwrite=overwrite, unit="trajectories")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def is_published(root: Path, lists: dict[str, list[str]]) -> bool:
    """Tell whether a prepared folder has the published trajectories, each with all the frames that are used."""
    enough = all(len(_position(root, name)) >= FRAMES[part] for part in SPLITS for name in lists[part])
    return enough and not other_lists(lists, PUBLISHED_LISTS)


def _position(root: Path, name: str) -> np.ndarray:
    return read_npy(root / sample_folder_name(name) / "position.npy", (None, None, 3))


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
