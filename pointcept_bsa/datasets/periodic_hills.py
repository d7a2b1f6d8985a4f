"""Periodic hills: mean flow over 29 families of hills, from direct numerical simulation.

Data: H. Xiao, J.-L. Wu, S. Laizet, L. Duan, "Flows over periodic hills of parameterized geometries", Computers & Fluids
200 (2020) 104431; Re_H = 5600; split 21/4/4 as published with the closure challenge benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.arguments.carried import command_line
from pointcept_bsa.datasets.arrays import check_finite, read_npz
from pointcept_bsa.datasets.base import SPLITS, PointFieldDataset
from pointcept_bsa.datasets.prepare.samples import Arrays, source_file, write_samples
from pointcept_bsa.datasets.prepared import PreparedFolder
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import DATASETS

FIELDS = {  # field -> (columns, names, unit)
    "wall_distance": (1, ("wall_distance",), "H"),
    "rans_velocity": (2, ("rans_velocity_x", "rans_velocity_y"), "U_b"),
    "dns_velocity": (2, ("dns_velocity_x", "dns_velocity_y"), "U_b"),
    "dns_k": (1, ("dns_k",), "U_b^2"),
}
PROTOCOL = "official 21/4/4"
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


@DATASETS.register_module()
class PeriodicHillsDataset(PointFieldDataset):
    """Cell centres (N, 2), N = 15600 -> mean velocity of the DNS (N, 2).

    Lengths in hill heights H, velocities in bulk velocities over the crest U_b.
    Everything is read once and kept in memory.

    Args:
        data_root: the file ``periodic_hills_29.npz``, or the folder that
            ``tools/prepare_data.py periodic_hills`` made of it.
        target: fields that make the target columns, in order: "dns_velocity", "dns_k".
        fields: fields given beside the coordinates: "wall_distance" (N, 1), "rans_velocity" (N, 2).
        split, transform, test_mode, test_cfg, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown field, a field that is input and target at once.
    """

    name = "periodic_hills"

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/periodic_hills",
        target: Sequence[str] = ("dns_velocity",),
        fields: Sequence[str] = ("wall_distance", "rans_velocity"),
        **common: Any,
    ) -> None:
        _check_fields(target, fields)
        self.target_fields = tuple(target)
        self.input_fields = tuple(fields)
        self.target_names = tuple(name for field in target for name in FIELDS[field][1])
        self.target_units = tuple(FIELDS[field][2] for field in target for _ in FIELDS[field][1])
        self._source = _open(data_root)
        super().__init__(split=split, data_root=data_root, **common)
        wanted = ("coord", *self.input_fields, *self.target_fields)
        self._samples = [{field: self._source.read(name, field) for field in wanted} for name in self.data_list]
        self._source.release()

    def list_samples(self) -> list[str]:
        return self._source.names(self.split)

    def load_fields(self, index: int) -> dict[str, Any]:
        return dict(self._samples[index])

    def where(self, index: int, field: str) -> str:
        return self._source.where(self.data_list[index], field)

    def target_statistics(self) -> dict[str, Any]:
        parts = [self._source.statistics(field) for field in self.target_fields]
        return {
            "mean": [value for part in parts for value in part["mean"]],
            "std": [value for part in parts for value in part["std"]],
            "source": "training split",
        }

    def protocol_name(self) -> str:
        return PROTOCOL

    def notes(self) -> list[str]:
        return [
            "lengths in hill heights H, velocities in bulk velocities over the crest U_b, Re_H = 5600",
            "every point of the 15600-cell mesh counts the same, whatever its cell's size",
        ]


class HillsFile:
    """The 29 geometries in one ``.npz`` file; clouds concatenated, sample i is rows offsets[i] to offsets[i+1]."""

    def __init__(self, path: Path) -> None:
        self.path = path
        arrays = read_npz(path, ("case", "split", "offsets", "points", *FIELDS))
        offsets = arrays["offsets"].astype(np.int64)
        cases = [str(case) for case in arrays["case"]]
        self._check(arrays, offsets, cases)
        self._rows = {case: slice(int(offsets[i]), int(offsets[i + 1])) for i, case in enumerate(cases)}
        self._split = dict(zip(cases, (str(s) for s in arrays["split"]), strict=True))
        self._arrays = {"coord": arrays["points"], **{field: arrays[field] for field in FIELDS}}
        self._statistics = {field: self._train_statistics(field) for field in FIELDS}

    def _check(self, arrays: dict[str, np.ndarray], offsets: np.ndarray, cases: list[str]) -> None:
        total = int(offsets[-1]) if len(offsets) else 0
        if len(offsets) != len(cases) + 1 or len(arrays["split"]) != len(cases) or np.any(np.diff(offsets) < 0):
            raise InputError(f"{self.path}: {len(cases)} cases with {len(offsets)} offsets, wanted one more, rising")
        unknown = sorted(set(arrays["split"].tolist()) - set(SPLITS))
        if unknown or "train" not in arrays["split"].tolist():
            raise InputError(f"{self.path}: 'split' holds {unknown or 'no train'}, wanted train, val and test cases")
        for field in ("points", *FIELDS):
            if len(arrays[field]) != total:
                raise InputError(f"{self.path}: {field!r} has {len(arrays[field])} rows, wanted {total} as offsets say")

    def names(self, split: str) -> list[str]:
        return [case for case, its_split in self._split.items() if its_split == split]

    def read(self, name: str, field: str) -> np.ndarray:
        rows = self._arrays[field][self._rows[name]]
        columns = 2 if field == "coord" else FIELDS[field][0]
        return np.array(rows, dtype=np.float32).reshape(len(rows), columns)

    def statistics(self, field: str) -> dict[str, list[float]]:
        return self._statistics[field]

    def _train_statistics(self, field: str) -> dict[str, list[float]]:
        statistics = RunningStatistics()
        for name in self.names("train"):
            values = self.read(name, field)
            check_finite(values, field, self.where(name, field))
            statistics.update(values)
        return statistics.result()

    def where(self, name: str, field: str) -> str:
        return f"{self.path} case {name}"

    def release(self) -> None:
        """Let go of the arrays; the statistics stay."""
        self._arrays = {}


class HillsFolder:
    """The same data as a prepared folder."""

    def __init__(self, path: Path) -> None:
        self._folder = PreparedFolder(path, _prepare_hint(path))
        self._protocol = self._folder.choose_protocol(None)

    def names(self, split: str) -> list[str]:
        return list(self._folder.split(self._protocol)[split])

    def read(self, name: str, field: str) -> np.ndarray:
        columns = 2 if field == "coord" else FIELDS[field][0]
        return np.array(self._folder.read(name, field, (None, columns)))

    def statistics(self, field: str) -> dict[str, list[float]]:
        return self._folder.field_statistics(self._protocol, field)

    def where(self, name: str, field: str) -> str:
        return str(self._folder.file(name, field))

    def release(self) -> None:
        pass


def _open(data_root: str) -> HillsFile | HillsFolder:
    path = Path(data_root)
    if path.suffix == ".npz":
        if not path.is_file():
            raise InputError(f"data_root: {str(data_root)!r} is not there, wanted the file periodic_hills_29.npz")
        return HillsFile(path)
    return HillsFolder(path)


def _prepare_hint(data_root: str | Path) -> str:
    return command_line("prepare_data", "periodic_hills", "--src", "<periodic_hills_29.npz>", "--dst", data_root)


def _check_fields(target: Sequence[str], fields: Sequence[str]) -> None:
    targets, inputs = ("dns_velocity", "dns_k"), ("wall_distance", "rans_velocity")
    for argument, given, known in (("target", target, targets), ("fields", fields, inputs)):
        if isinstance(given, str) or len(set(given)) != len(given):
            raise InputError(f"{argument}: got {given!r}, wanted a list of different names from {list(known)}")
        for name in given:
            if name not in known:
                raise InputError(f"{argument}: got {name!r}, wanted names from {list(known)}{nearest(name, known)}")
    if not target:
        raise InputError("target: got no field, wanted at least one")


def prepare_periodic_hills(src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False) -> None:
    """Write the prepared folder ``dst`` from the file ``src``; finished samples of an earlier run are kept.

    Raises:
        InputError: missing or foreign file, NaN in it, other data in ``dst``.
    """
    file = HillsFile(source_file(src, "periodic_hills_29.npz"))

    def load(name: str) -> tuple[Arrays, str]:
        return {field: file.read(name, field) for field in ARRAYS}, file.where(name, "coord")

    protocols = {PROTOCOL: {split: file.names(split) for split in SPLITS}}
    write_samples(dst, protocols, ARRAYS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="geometries")
