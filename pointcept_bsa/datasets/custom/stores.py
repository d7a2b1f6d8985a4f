"""Where the samples of ``PointFieldDataset`` come from: files as they are, or the prepared folder.

``fields.json`` of a prepared folder: ``{"format": 1, "dimension": 3, "target": [..], "fields": [..], "recipe": {..},
"notes": [..]}``, maybe ``"surface_pressure"`` or, where the target is a label, ``"labels": [0, 1, 4]``; an entry of a
list is ``{"key", "source", "kind", "columns", "unit"}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pointcept_bsa.arguments.carried import command_line
from pointcept_bsa.datasets.custom.labels import checked_labels
from pointcept_bsa.datasets.custom.recipe import Recipe, check_used, field_key, read_sample
from pointcept_bsa.datasets.custom.sources import PREPARED, find_samples
from pointcept_bsa.datasets.custom.splits import Lists, make_split, samples_of, torn_series_notes
from pointcept_bsa.datasets.custom.surface_pressure import checked_surface_pressure
from pointcept_bsa.datasets.custom.table import check_rows, read_parameters
from pointcept_bsa.datasets.inputs import GLOBAL, RECIPE_OPTIONS, FieldInfo, checked_recipe, offset_of
from pointcept_bsa.datasets.prepared import PreparedFolder
from pointcept_bsa.datasets.statistics import RunningStatistics, are_put_off
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.json_file import read_json

FIELDS_FILE = PREPARED
FORMAT = 1
Statistics = dict[str, list[float]]


class Field(NamedTuple):
    """A field of the samples and its unit."""

    info: FieldInfo
    unit: str

    @property
    def is_global(self) -> bool:
        return self.info.kind in GLOBAL


class Store(Protocol):
    """The samples, and what is known about them."""

    dimension: int
    target: list[Field]
    fields: list[Field]
    notes: list[str]
    protocol: str
    lists: Lists
    recipe_options: dict[str, Any]  # how fields are read from files, for ``InputDescription.recipe``
    labels: list[int] | None  # of the one target, where it is a label: its classes in order
    surface_pressure: dict[str, Any] | None  # which of the target's fields is one, see ``custom.surface_pressure``

    @property
    def offsets(self) -> dict[str, list[float]]:
        """What is subtracted from fields of the points before float32, for ``InputDescription.offsets``."""

    def read(self, name: str) -> dict[str, np.ndarray]:
        """Return ``coord (N, d)``, target and fields (N, k), global fields (1, k), ``face`` if there is one."""

    def cells(self, name: str) -> dict[str, np.ndarray]:
        """Return the cells of a sample by type; those of ``face`` may be missing."""

    @property
    def knows_trained(self) -> bool:
        """Whether there are statistics of the training samples without those of holdout; not of folders that were
        prepared before there were any, nor where there is no holdout."""

    def statistics(self, key: str, trained: bool = False) -> Statistics:
        """Return mean, std, min and max of a field over the training samples; ``trained``: without those of holdout."""

    def where(self, name: str, key: str) -> str:
        """Return the file that holds a field."""


class PreparedStore:
    """A folder that ``tools/prepare_data.py custom`` wrote.

    Raises:
        InputError: not such a folder, or a damaged one; target or fields that it does not have.
    """

    def __init__(self, root: str, target: Sequence[str], fields: Sequence[str] | None, protocol: str | None) -> None:
        words = ("custom", "--src", "<your files>", "--dst", root, "--target", "<fields>")
        hint = command_line("prepare_data", *words)
        self.folder = PreparedFolder(root, hint)
        content = read_fields_file(Path(root), hint)
        self.dimension = int(content["dimension"])
        self.target = _chosen(content["target"], target or None, "target", root)
        self.fields = _chosen(content["fields"], fields, "fields", root)
        self.notes = [str(note) for note in content["notes"]]
        self.recipe_options = checked_recipe(content["recipe"])
        self.labels = checked_labels(content.get("labels"))
        declared, chosen = content.get("surface_pressure"), [field.info for field in self.target]
        keys = [info.key for info in chosen]
        known = declared is not None and declared["field"] in keys
        if declared is not None and declared.get("shear") not in keys:  # not chosen: forces without it
            declared = {key: value for key, value in declared.items() if key != "shear"}
        self.surface_pressure = checked_surface_pressure(
            declared if known else None, chosen, self.dimension, f"{Path(root) / FIELDS_FILE}: surface_pressure"
        )
        self.protocol = self.folder.choose_protocol(protocol)
        self.lists = self.folder.split(self.protocol)

    @property
    def offsets(self) -> dict[str, list[float]]:
        found = self.folder.offsets(self.protocol)
        widths = {"coord": self.dimension} | {f.info.key: f.info.columns for f in (*self.target, *self.fields)}
        return {key: found[key] for key, width in widths.items() if len(found.get(key, ())) == width}

    def read(self, name: str) -> dict[str, np.ndarray]:
        arrays = {"coord": self.folder.read(name, "coord", (None, self.dimension))}
        for field in (*self.target, *self.fields):
            shape = (1 if field.is_global else None, field.info.columns)
            arrays[field.info.key] = self.folder.read(name, field.info.key, shape)
        if self.folder.file(name, "face").is_file():
            arrays["face"] = self.folder.read(name, "face", kind="iu")
        return arrays

    def cells(self, name: str) -> dict[str, np.ndarray]:
        return self.folder.cells(name)

    @property
    def knows_trained(self) -> bool:
        return self.folder.knows_trained(self.protocol)

    def statistics(self, key: str, trained: bool = False) -> Statistics:
        return self.folder.field_statistics(self.protocol, key, trained)

    def where(self, name: str, key: str) -> str:
        return str(self.folder.file(name, key))


class FilesStore:
    """The files as they are, read anew for every sample.

    Raises:
        InputError: no files, no target, a split that cannot be; what ``read_sample`` raises of the first sample.
    """

    def __init__(
        self,
        root: str,
        recipe: Recipe,
        parameters: str | None,
        units: tuple[tuple[str, str], ...],
        split_file: str | None,
        fractions: tuple[float, ...] | None,
        seed: int,
        whole_series: bool = False,
    ) -> None:
        if not recipe.target:
            raise InputError(f"target: got none, wanted the names of point fields of the files in {root}")
        self.recipe = recipe
        self.table = read_parameters(parameters) if parameters is not None else {}
        self.sources = find_samples(root, parameters)
        check_rows(self.table, self.sources, parameters or "")
        check_used(recipe, self.table)
        for name, _ in units:
            if name not in (known := [*recipe.target, *recipe.fields]):
                raise InputError(f"units: got {name!r}, wanted fields from {known}{nearest(name, known)}")
        self.protocol, self.lists = make_split(list(self.sources), split_file, fractions, seed, whole_series)
        first = next(iter(self.sources))
        sample = read_sample(self.sources[first], first, recipe, self.table)
        self.dimension = sample.arrays["coord"].shape[1]
        self.labels: list[int] | None = None
        self.surface_pressure: dict[str, Any] | None = None  # of files the data set's own argument
        unit_of = dict(units)
        self.target, self.fields = (
            [Field(sample.infos[field_key(source)], unit_of.get(source, "unknown")) for source in sources]
            for sources in (recipe.target, recipe.fields)
        )
        torn = torn_series_notes(self.lists) if self.protocol.startswith("drawn") else []
        self.notes = [*notes_of(sample.infos, recipe), *torn]
        self.recipe_options = {key: getattr(recipe, key) for key in RECIPE_OPTIONS}
        keys = ["coord", *(f.info.key for f in (*self.target, *self.fields) if not f.is_global)]
        self._maybe_far = [key for key in keys if is_far(key, sample.arrays[key])]
        self._statistics: dict[tuple[str, ...], dict[str, Statistics]] = {}  # of which samples

    @property
    def offsets(self) -> dict[str, list[float]]:
        ranges = {key: self.statistics(key) for key in self._maybe_far}  # mostly none: no pass over the files
        found = {key: offset_of(key, each["min"], each["max"]) for key, each in ranges.items()}
        return {key: offset for key, offset in found.items() if offset is not None}

    def read(self, name: str) -> dict[str, np.ndarray]:
        sample = read_sample(self.sources[name], name, self.recipe, self.table, self.dimension)
        for field in (*self.target, *self.fields):
            info = sample.infos[field.info.key]
            if info.columns != field.info.columns or (info.kind in GLOBAL) != field.is_global:
                raise InputError(
                    f"{self.sources[name]}: field {info.source!r} is {info.kind} data of {info.columns} columns, "
                    f"wanted {field.info.kind} data of {field.info.columns} as in the first sample"
                )
        return sample.arrays

    def cells(self, name: str) -> dict[str, np.ndarray]:
        return read_sample(self.sources[name], name, self.recipe, self.table, self.dimension).cells

    @property
    def knows_trained(self) -> bool:
        return bool(self.lists.get("holdout"))

    def statistics(self, key: str, trained: bool = False) -> Statistics:
        if are_put_off():
            whole = apart = tuple(self.lists["train"][:1])
        else:
            whole = tuple(self.lists["train"])
            apart = tuple(samples_of(self.lists, "train", "holdout"))
        if whole not in self._statistics:
            self._statistics |= self._statistics_of({whole, apart})
        return self._statistics[apart if trained else whole][key]

    def _statistics_of(self, groups: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], dict[str, Statistics]]:
        """Statistics of each group of samples, every one of which is read once, in the order of the longest."""
        keys = ["coord", *(field.info.key for field in (*self.target, *self.fields))]
        running = {group: {key: RunningStatistics() for key in keys} for group in groups}
        members = {group: set(group) for group in running}
        for name in max(running, key=len):
            arrays = self.read(name)
            for key in keys:
                if not np.all(np.isfinite(arrays[key])):
                    raise InputError(f"{self.sources[name]}: field {key!r} has NaN or infinite values, wanted none")
                for group, found in running.items():
                    if name in members[group]:
                        found[key].update(arrays[key])
        return {group: {key: each.result() for key, each in found.items()} for group, found in running.items()}

    def where(self, name: str, key: str) -> str:
        return str(self.sources[name])


def is_far(key: str, values: np.ndarray) -> bool:
    """Whether the values (N, k) of a sample leave it open that ``offset_of`` all samples is not None."""
    low, high = values.min(axis=0), values.max(axis=0)
    half = (high - low).max() if key == "coord" else high - low  # of one value: the other samples may be alike
    return offset_of(key, low, high, far=0.5) is not None or bool(np.any((half == 0) & (low != 0)))


@lru_cache(maxsize=8)
def files_store(root: str, recipe: Recipe, **arguments: Any) -> FilesStore:
    """Return a ``FilesStore``; the splits of one data set share it, and its statistics."""
    return FilesStore(root, recipe, **arguments)


def is_prepared(root: str | Path) -> bool:
    return (Path(root) / FIELDS_FILE).is_file()


def _to_points(is_label: bool) -> str:
    if is_label:
        return "a point has the label of most of its cells"
    return "averaged to the points (mean over the cells at a point)"


def notes_of(infos: dict[str, FieldInfo], recipe: Recipe) -> list[str]:
    """Return what a reader of the results must know about the fields."""
    notes = [
        f"{info.source}: cell data, {_to_points(info.source == recipe.label)}"
        for info in infos.values()
        if info.kind == "cell"
    ]
    if "normal" in infos and infos["normal"].kind == "derived":
        notes.append("normal: worked out from the faces (area-weighted), outward or inward as they are ordered")
    if "wall_distance" in infos and infos["wall_distance"].kind == "derived":
        notes.append(f"wall_distance: distance to the nearest point where {recipe.wall_mask!r} is above 0.5")
    if recipe.drop_loose_points:
        notes.append("points that belong to no cell are left out")
    return notes


def fields_content(
    dimension: int,
    target: list[Field],
    fields: list[Field],
    recipe: dict[str, Any],
    notes: list[str],
    surface_pressure: dict[str, Any] | None = None,
    labels: list[int] | None = None,
) -> dict[str, Any]:
    """Return the content of ``fields.json``."""
    lists = {
        part: [{**field.info._asdict(), "unit": field.unit} for field in members]
        for part, members in (("target", target), ("fields", fields))
    }
    content = {"format": FORMAT, "dimension": dimension, **lists, "recipe": recipe, "notes": notes}
    more = {"surface_pressure": surface_pressure, "labels": labels}
    return content | {key: value for key, value in more.items() if value is not None}


def read_fields_file(root: Path, hint: str) -> dict[str, Any]:
    """Return the content of ``fields.json``.

    Raises:
        InputError: missing or damaged.
    """
    path = root / FIELDS_FILE
    try:
        content = read_json(path)
        whole = content["format"] == FORMAT and content["dimension"] in (2, 3) and isinstance(content["notes"], list)
        whole = whole and isinstance(content["recipe"], dict) and checked_recipe(content["recipe"]) is not None
        declared = content.get("surface_pressure")
        checked_labels(content.get("labels"))
        whole = whole and (declared is None or isinstance(declared, dict) and isinstance(declared["field"], str))
        for part in ("target", "fields"):
            whole = whole and all(field_key(entry["key"]) == entry["key"] for entry in content[part])
            whole = whole and all(isinstance(entry["columns"], int) for entry in content[part])
            whole = whole and all(str(entry["source"] + entry["kind"] + entry["unit"]) for entry in content[part])
    except InputError as error:
        raise InputError(f"{error}; run: {hint}") from None
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{path}: is damaged, or of another version of this package; prepare the data again: {hint}")
    return content


def _chosen(entries: list[dict], wanted: Sequence[str] | None, argument: str, root: str) -> list[Field]:
    known = {
        entry["key"]: Field(FieldInfo(*(entry[name] for name in FieldInfo._fields)), entry["unit"]) for entry in entries
    }
    if wanted is None:
        return list(known.values())
    keys = [field_key(name) for name in wanted]
    for name, key in zip(wanted, keys, strict=True):
        if key not in known or keys.count(key) > 1:
            raise InputError(f"{argument}: got {name!r}, {root} has {list(known)}, each once{nearest(key, known)}")
    return [known[key] for key in keys]
