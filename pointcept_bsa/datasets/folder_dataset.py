"""Data sets that read a prepared folder: one description of the fields, the rest is alike.

Letters: N points, k columns of a field, P global parameters of a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pointcept_bsa.arguments.carried import command_line
from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.inputs import FieldInfo, InputDescription, scale_of
from pointcept_bsa.datasets.prepared import PreparedFolder
from pointcept_bsa.datasets.statistics import source_of
from pointcept_bsa.errors import InputError, nearest

VALIDATIONS = ("holdout", "test")


class FolderDataset(PointFieldDataset):
    """A data set whose samples are folders of ``.npy`` files; base class.

    A subclass names ``command`` (the sub-command of ``tools/prepare_data.py``), ``raw`` (what it is made from),
    ``dimensions`` of space, ``columns`` of every per-point field and ``global_fields``, and sets ``target_fields``.
    It passes the constructor which of them a sample holds.

    Fields on disk: ``coord (N, d)``, a per-point field (N, k), a global field (1, P). A sample gets the per-point
    fields in physical units and the global ones as (N, P), the same in every row, standardised with mean and standard
    deviation over the training samples (a parameter that never changes there becomes 0).

    Args:
        data_root: the prepared folder.
        protocol: a protocol of the folder; None: its default.
        fields: fields given beside the coordinates.
        validation: for protocols without validation samples of their own. "holdout": samples drawn from the training
            samples and left out of training; "test": the papers' way: train on the whole training split, validate on
            the test samples.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol, an unknown field.
    """

    command = ""
    raw = ""
    dimensions = 3
    columns: Mapping[str, int] = {}
    global_fields: Mapping[str, int] = {}
    published: Mapping[str, Mapping[str, list[float]]] = {}  # protocol -> mean and std of the target

    def __init__(
        self,
        split: str,
        data_root: str,
        protocol: str | None = None,
        fields: Sequence[str] = (),
        validation: str = "holdout",
        **common: Any,
    ) -> None:
        if validation not in VALIDATIONS:
            raise InputError(
                f"validation: got {validation!r}, wanted one of {list(VALIDATIONS)}{nearest(validation, VALIDATIONS)}"
            )
        self.input_fields = check_fields(fields, [*self.columns, *self.global_fields], self.target_fields)
        self.folder = PreparedFolder(data_root, self.prepare_hint(data_root))
        self.protocol = self.folder.choose_protocol(protocol)
        self.validation = validation
        super().__init__(split=split, data_root=data_root, **common)

    def prepare_hint(self, data_root: str) -> str:
        """Return the command that makes the prepared folder, for error messages."""
        return command_line("prepare_data", self.command, "--src", f"<{self.raw}>", "--dst", data_root)

    def list_samples(self) -> list[str]:
        lists = self.folder.split(self.protocol)
        if "val" in lists or self.split == "test":
            return list(lists[self.split])
        if self.validation == "test":
            return list(lists["train" if self.split == "train" else "test"])
        if self.split == "val":
            return list(lists["holdout"])
        held_out = set(lists["holdout"])
        return [name for name in lists["train"] if name not in held_out]

    def load_fields(self, index: int) -> dict[str, Any]:
        name = self.data_list[index]
        coord = self.folder.read(name, "coord", (None, self.dimensions))
        fields: dict[str, Any] = {"coord": coord}
        for field in (*self.input_fields, *self.target_fields):
            rows, columns = (None, self.columns) if field in self.columns else (1, self.global_fields)
            fields[field] = self.folder.read(name, field, (rows, columns[field]))
        return fields

    def input_scales(self) -> dict[str, dict[str, list[float]]]:
        names = [field for field in self.input_fields if field in self.global_fields]
        return {field: scale_of(self.folder.field_statistics(self.protocol, field)) for field in names}

    def describe_inputs(self) -> InputDescription:
        infos = [FieldInfo(f, f, "point", self.columns[f]) for f in self.columns if f not in self.target_fields]
        infos += [FieldInfo(f, f, "mesh", columns) for f, columns in self.global_fields.items()]
        return InputDescription(self.dimensions, tuple(infos), self.input_scales())

    def where(self, index: int, field: str) -> str:
        return str(self.folder.file(self.data_list[index], field))

    def target_statistics(self) -> dict[str, Any]:
        if self.protocol in self.published:
            return {**self.published[self.protocol], "source": f"published constants, protocol {self.protocol}"}
        parts = [self.folder.field_statistics(self.protocol, field) for field in self.target_fields]
        return {
            "mean": [value for part in parts for value in part["mean"]],
            "std": [value for part in parts for value in part["std"]],
            "source": self.statistics_source(),
        }

    def statistics_source(self) -> str:
        """Return which samples the folder's statistics are of."""
        return source_of(self.protocol, self.folder.split(self.protocol), self.validation)

    def protocol_name(self) -> str:
        return self.protocol

    def notes(self) -> list[str]:
        lists = self.folder.split(self.protocol)
        if "val" in lists:
            return []
        if self.validation == "test":
            return ["validation = test samples (the paper's protocol)"]
        if not lists["holdout"]:
            return ["no validation samples"]
        return [f"validation = {len(lists['holdout'])} samples held out of the training split"]


def check_fields(fields: Sequence[str], known: Sequence[str], targets: Sequence[str]) -> tuple[str, ...]:
    """Return ``fields`` as a tuple.

    Raises:
        InputError: not a list of different names, an unknown one, one that is the target.
    """
    inputs = [name for name in known if name not in targets]
    if isinstance(fields, str) or len(set(fields)) != len(fields):
        raise InputError(f"fields: got {fields!r}, wanted a list of different names from {inputs}")
    for name in fields:
        if name not in inputs:
            raise InputError(f"fields: got {name!r}, wanted names from {inputs}{nearest(name, inputs)}")
    return tuple(fields)
