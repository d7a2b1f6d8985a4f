"""The prepared folder: what ``tools/prepare_data.py`` writes and the data sets read.

::

    <root>/split.json   {"default": "A", "protocols": {"A": {"train": [..], "test": [..], "holdout" or "val": [..]}}}
    <root>/stats.json   {"protocols": {"A": {"samples": n, "fields": {"pressure": {"mean": [..], "std": [..], ...}},
                        "offsets": {"coord": [..]}}}}: see ``datasets.inputs``; mostly not there
                        "trained": {"samples": m, "fields": {..}}: without the samples of holdout; of own data alone
    <root>/README.md    the card
    <root>/<sample id with / replaced by __>/<field>.npy
                        cells.<number>.<type>.npy: cells of own data that are no faces, in their order, for exports
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.arrays import Shape, read_npy
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.json_file import read_json

CELLS = re.compile(r"cells\.(\d+)\.(\w+)\.npy")  # no field has a dot in its name
STATISTICS = ("mean", "std", "min", "max")


def _is_sample_name(name: Any) -> bool:
    """Whether a name makes a folder of its own within the prepared one."""
    return isinstance(name, str) and 0 < len(name) < 250 and name.isprintable() and not name.startswith(".")


def sample_folder_name(sample_id: str) -> str:
    """Return the folder of a sample: its id with every ``/`` written as ``__``."""
    return sample_id.replace("/", "__")


class PreparedFolder:
    """Read access to one prepared folder.

    Args:
        root: the folder.
        prepare_hint: the command that makes it; printed when something is missing.

    Raises:
        InputError: the folder, ``split.json`` or ``stats.json`` is missing or not readable.
    """

    def __init__(self, root: str | Path, prepare_hint: str) -> None:
        self.root = Path(root)
        self.prepare_hint = prepare_hint
        if not self.root.is_dir():
            here = "" if self.root.is_absolute() else f" (a relative path is seen from where you are: {Path.cwd()})"
            raise InputError(f"data_root: {str(root)!r} is not a folder; make it with: {prepare_hint}{here}")
        self._split = self._read_json("split.json")
        self._stats = self._read_json("stats.json")
        self.default_protocol = self._checked_split()

    def choose_protocol(self, protocol: str | None) -> str:
        """Return ``protocol``, or the folder's default for None.

        Raises:
            InputError: the folder has no such protocol.
        """
        known = list(self._split["protocols"])
        chosen = self.default_protocol if protocol is None else protocol
        if chosen not in known:
            raise InputError(f"protocol: got {chosen!r}, {self.root} has {known}{nearest(chosen, known)}")
        return chosen

    def split(self, protocol: str) -> dict[str, list[str]]:
        """Return the lists of sample ids of a protocol: train, test and holdout (or val)."""
        return self._split["protocols"][protocol]

    def knows_trained(self, protocol: str) -> bool:
        """Whether there are statistics of the training split without the samples of holdout."""
        return "trained" in self._stats["protocols"].get(protocol, {})

    def field_statistics(self, protocol: str, field: str, trained: bool = False) -> dict[str, list[float]]:
        """Return mean, std, min, max (lists, one entry a column) of a field over the protocol's training split.

        ``trained``: without the samples of holdout.
        """
        try:
            of_protocol = self._stats["protocols"][protocol]
            statistics = (of_protocol["trained"] if trained else of_protocol)["fields"][field]
            if not all(math.isfinite(number) for name in STATISTICS for number in statistics[name]):
                raise ValueError("not finite")
            return statistics
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{self.root / 'stats.json'}: no statistics of {field!r} under protocol {protocol!r}; "
                f"prepare the data again: {self.prepare_hint}"
            ) from None

    def offsets(self, protocol: str) -> dict[str, list[float]]:
        """Return what is subtracted from fields before they become float32, {field: [k numbers]}; mostly empty.

        Raises:
            InputError: damaged.
        """
        found = self._stats["protocols"].get(protocol, {}).get("offsets", {})
        try:
            good = all(isinstance(v, list) and all(math.isfinite(number) for number in v) for v in found.values())
        except (AttributeError, TypeError, OverflowError):
            good = False
        if not good:
            raise InputError(
                f"{self.root / 'stats.json'}: 'offsets' of protocol {protocol!r} are no lists of numbers; "
                f"prepare the data again: {self.prepare_hint}"
            )
        return found

    def file(self, sample_id: str, field: str) -> Path:
        return self.root / sample_folder_name(sample_id) / f"{field}.npy"

    def read(self, sample_id: str, field: str, shape: Shape | None = None, kind: str = "f") -> np.ndarray:
        """Read one array of a sample; see ``read_npy``."""
        return read_npy(self.file(sample_id, field), shape, kind)

    def cells(self, sample_id: str) -> dict[str, np.ndarray]:
        """Return the cells of a sample by type, as a ``Mesh`` has them; none where the preparation kept none."""
        found = (CELLS.fullmatch(file.name) for file in (self.root / sample_folder_name(sample_id)).glob("cells.*.npy"))
        blocks = sorted((int(match[1]), match[2], match[0]) for match in found if match)
        return {kind: read_npy(self.file(sample_id, name.removesuffix(".npy")), kind="iu") for _, kind, name in blocks}

    def _checked_split(self) -> str:
        """The default protocol, after seeing that every protocol has lists of names."""
        protocols, default = self._split["protocols"], self._split.get("default")
        good = isinstance(protocols, dict) and isinstance(default, str) and default in protocols
        for lists in protocols.values() if good else ():
            good = good and isinstance(lists, dict) and {"train", "test"} <= set(lists)
            good = good and all(isinstance(names, list) for names in lists.values())
            good = good and all(_is_sample_name(name) for names in lists.values() for name in names)
            good = good and ("val" in lists or "holdout" in lists)
        if not good:
            raise InputError(
                f"{self.root / 'split.json'}: has no default protocol with lists of sample names; prepare the data "
                f"again: {self.prepare_hint}"
            )
        return str(default)

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.root / name
        if not path.is_file():
            raise InputError(f"{path}: is missing (not prepared, or not finished); run: {self.prepare_hint}")
        try:
            content = read_json(path, words_as_null=True)
        except InputError as error:
            raise InputError(f"{error}; prepare the data again: {self.prepare_hint}") from None
        if not isinstance(content, dict) or "protocols" not in content:
            raise InputError(f"{path}: has no 'protocols'; prepare the data again: {self.prepare_hint}")
        return content
