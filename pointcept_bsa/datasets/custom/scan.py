"""Going through all samples once: sizes, ranges, NaN, duplicates, missing fields, files that cannot be read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.custom.features import orientation, other_cells
from pointcept_bsa.datasets.custom.labels import count_labels
from pointcept_bsa.datasets.custom.recipe import MissingField, Recipe, available_fields, field_key, sample_of
from pointcept_bsa.datasets.custom.sources import read_source
from pointcept_bsa.datasets.custom.stores import is_far
from pointcept_bsa.datasets.custom.table import Table, parameters_of
from pointcept_bsa.datasets.inputs import GLOBAL, FieldInfo, offset_of
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import left_out_lines

SHOWN = 10  # of each list
UNLIKE = 100  # times as large as the smallest sample: told
COARSE = 1e-3  # of the range of a field in a sample: a step of float32 above that is told


@dataclass
class FieldCount:
    """What was seen of one field in all samples; the statistics are of its finite values."""

    info: FieldInfo
    samples: int = 0
    values: int = 0
    nan: int = 0
    infinite: int = 0
    statistics: RunningStatistics = field(default_factory=RunningStatistics)

    def update(self, values: np.ndarray) -> None:
        self.samples += 1
        self.values += values.size
        self.nan += int(np.count_nonzero(np.isnan(values)))
        self.infinite += int(np.count_nonzero(np.isinf(values)))
        self.statistics.update(values[np.isfinite(values).all(axis=1)])


@dataclass
class Scan:
    """All that was seen.

    Attributes:
        dimension: of space.
        points: sample -> number of points.
        heights: z of flat samples, which is left out -> the first of them.
        fields: key -> what was seen of it, "coord" among them.
        bad: sample -> why it cannot be used, one line.
        duplicates: sample -> points at the place of another one.
        digests: sample -> what only samples of the same points and values have in common, in the same order.
        missing: field -> number of samples that lack it.
        available: name and place of every field in the files -> number of samples that have it.
        left_out: name of what a mesh does not hold, such as columns of text -> number of samples that have it.
        faces: names of samples with faces.
        labels: label -> number of points that have it.
        zero: samples whose targets are 0 at all points.
        sides: sample -> longest side of the box around it.
        corners: sample -> corners of all its cells, as the prepared folder keeps them.
        wide: fields that may have to lose a constant before they become float32.
        shift: field -> that constant, as the first sample has it; the samples then give it exactly.
        ordered: "outward", "inward" or "both ways" -> samples whose faces, of which normals are made, are ordered so.
        merged: sample -> points that lie apart in the file, but not in float32.
        coarse: field -> samples in which a step of float32 exceeds ``COARSE`` of the field's range.
    """

    dimension: int = 0
    points: dict[str, int] = field(default_factory=dict)
    heights: dict[float, str] = field(default_factory=dict)
    fields: dict[str, FieldCount] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    missing: Counter = field(default_factory=Counter)
    duplicates: dict[str, int] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    available: Counter = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    faces: set[str] = field(default_factory=set)
    labels: Counter[int] = field(default_factory=Counter)
    zero: list[str] = field(default_factory=list)
    sides: dict[str, float] = field(default_factory=dict)
    corners: dict[str, int] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)
    shift: dict[str, np.ndarray] = field(default_factory=dict)
    ordered: dict[str, list[str]] = field(default_factory=dict)
    merged: dict[str, int] = field(default_factory=dict)
    coarse: Counter = field(default_factory=Counter)

    @property
    def good(self) -> list[str]:
        return [name for name in self.points if name not in self.bad]


def scan(sources: Mapping[str, Path], recipe: Recipe, table: Table, step: Callable[[], None] = lambda: None) -> Scan:
    """Read every sample once and return what was seen; files that cannot be used are noted in ``bad``."""
    seen = Scan(dimension=recipe.dimension or 0)
    for name, path in sources.items():
        try:
            _look_at(seen, name, path, recipe, table)
        except InputError as error:
            seen.bad[name] = str(error)
        step()
    return seen


def _look_at(seen: Scan, name: str, path: Path, recipe: Recipe, table: Table) -> None:
    mesh = read_source(path, recipe.columns)
    for pair in available_fields(mesh, parameters_of(table, name)).items():
        seen.available[pair] += 1
    seen.left_out.update(mesh.left_out)
    try:
        sample = sample_of(mesh, path, name, recipe, table, seen.dimension or None)
    except MissingField as error:
        seen.missing[error.field] += 1
        raise
    coord = sample.arrays["coord"]
    seen.dimension = seen.dimension or coord.shape[1]
    seen.points[name] = len(coord)
    if coord.shape[1] == 2:
        seen.heights.setdefault(float(mesh.points[0, 2]), name)
    double = len(coord) - len(np.unique(coord, axis=0))
    if double:
        seen.duplicates[name] = double
    if "face" in sample.arrays:
        seen.faces.add(name)
    kept = [sample.arrays["face"]] if "face" in sample.arrays else other_cells(sample.cells).values()
    seen.corners[name] = sum(block.size for block in kept)
    infos = {"coord": FieldInfo("coord", "coord", "point", coord.shape[1]), **sample.infos}
    faults = []
    for key, info in infos.items():
        count = seen.fields.setdefault(key, FieldCount(info))
        if (info.kind, info.columns) != (count.info.kind, count.info.columns):
            raise InputError(
                f"{path}: field {info.source!r} is {info.kind} data of {info.columns} columns, "
                f"wanted {count.info.kind} data of {count.info.columns} as in the samples before"
            )
        values = sample.arrays[key]
        count.update(values)
        with np.errstate(over="ignore"):
            bad = int(values.size - np.count_nonzero(np.isfinite(values.astype(np.float32))))
        if bad:
            faults.append(f"field {info.source!r} has {bad} NaN or infinite of {values.size} values")
    made = any(info.kind == "derived" and info.source.startswith("normal") for info in sample.infos.values())
    if made and seen.dimension == 3:
        way = orientation(coord, sample.cells)
        if way is not None:
            seen.ordered.setdefault(way, []).append(name)
    seen.digests[name] = _digest([sample.arrays[key] for key in infos])
    if recipe.label is not None and not faults:
        seen.labels.update(count_labels(sample.arrays[field_key(recipe.label)], recipe.label, path))
    if faults:
        raise InputError(f"{path}: {', '.join(faults)}, wanted none")
    seen.sides[name] = float(np.ptp(coord, axis=0).max())
    if recipe.label is None and recipe.target and not any(sample.arrays[field_key(t)].any() for t in recipe.target):
        seen.zero.append(name)
    for key, info in infos.items():
        if info.kind not in GLOBAL:
            _look_at_precision(seen, name, key, sample.arrays[key])


def _digest(arrays: Iterable[np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for values in arrays:
        digest.update(repr(values.shape).encode())
        digest.update(np.asarray(values, np.float64).tobytes())
    return digest.digest()


def _look_at_precision(seen: Scan, name: str, key: str, values: np.ndarray) -> None:
    """What float32 would make of the values (N, k), finite, of a sample."""
    if is_far(key, values):
        seen.wide.add(key)
    low, high = values.min(axis=0), values.max(axis=0)
    first = offset_of(key, low, high, far=0.5)
    shift = seen.shift.setdefault(key, np.zeros(values.shape[1]) if first is None else np.asarray(first))
    narrow = (values - shift).astype(np.float32)
    if key == "coord":
        merged = len(np.unique(values, axis=0)) - len(np.unique(narrow, axis=0))
        if merged > 0:
            seen.merged[name] = merged
    size = np.broadcast_to((high - low).max(), low.shape) if key == "coord" else high - low
    step = np.spacing(np.abs(narrow).max(axis=0)).astype(np.float64)
    seen.coarse[key] += bool(np.any((size > 0) & (step > COARSE * size)))


def precision_lines(seen: Scan) -> list[str]:
    """Return a line for everything that float32 cannot hold as the files do; none if nothing."""
    lines = []
    if seen.merged:
        worst = max(seen.merged, key=lambda name: seen.merged[name])
        lines.append(
            f"precision: {sum(seen.merged.values())} points of {len(seen.merged)} samples fall together with others in "
            f"float32 (most: {worst}): the samples lie too far apart for one origin"
        )
    for key, count in seen.coarse.items():
        if count:
            source = seen.fields[key].info.source
            lines.append(
                f"precision: field {source!r} in {count} samples: float32 rounds by more than {COARSE:g} of its range"
            )
    return lines


def sample_lines(seen: Scan) -> list[str]:
    """Return a line for flat samples at several heights, for samples that are zero, of which no relative error can be
    told, for faces that are ordered in different ways, and for unlike sizes."""
    lines = []
    if len(seen.heights) > 1:
        low, high = min(seen.heights), max(seen.heights)
        lines.append(
            f"dimension 2: z is {low:g} in {seen.heights[low]}, {high:g} in {seen.heights[high]}, and is left out; "
            "--dimension 3 keeps it"
        )
    if seen.zero:
        lines.append(
            f"target: zero at all points of {len(seen.zero)} samples ({', '.join(seen.zero[:3])}): they have no "
            "relative error; the loss of the written configs is of normalised values, and hooks.5.key=mse chooses "
            "weights by the mse"
        )
    if len(seen.ordered) > 1 or "both ways" in seen.ordered:
        shares = ", ".join(f"{way} in {len(names)} ({names[0]}, ..)" for way, names in sorted(seen.ordered.items()))
        lines.append(
            f"normal: the faces are ordered {shares}: normals made of them point to either side, or cancel; turn the "
            "faces one way in all samples (ParaView: Surface Normals with Consistency and Auto Orient)"
        )
    small, large = (min(seen.sides.values()), max(seen.sides.values())) if seen.sides else (0.0, 0.0)
    if large > UNLIKE * small:
        names = [min(seen.sides, key=lambda name: seen.sides[name]), max(seen.sides, key=lambda name: seen.sides[name])]
        lines.append(
            f"size: the longest side of a sample is {small:g} ({names[0]}) to {large:g} ({names[1]}): in other units?"
        )
    return lines


def constant_targets(seen: Scan, recipe_target: tuple[str, ...]) -> list[str]:
    """Return a line for every target column that has the same value everywhere: nothing could be learnt of it."""
    lines = []
    for count in seen.fields.values():
        if count.info.source not in recipe_target or count.values == count.nan + count.infinite:
            continue
        result = count.statistics.result()
        for column, (low, high) in enumerate(zip(result["min"], result["max"], strict=True)):
            if low == high:
                lines.append(f"target {count.info.source!r}: column {column} is {low:g} everywhere")
    return lines


def report(seen: Scan, sources: Mapping[str, Path]) -> list[str]:
    """Return the lines of the dry run."""
    lines = [f"{len(sources)} samples, {len(seen.good)} of them can be used; dimension {seen.dimension or 'unknown'}"]
    if seen.points:
        sizes = np.sort(list(seen.points.values()))
        lines.append(
            f"points a sample: {sizes[0]} to {sizes[-1]}, middle {int(np.median(sizes))}, {sizes.sum()} in all"
        )
        lines.append(f"faces: in {len(seen.faces)} samples")
    for count in seen.fields.values():
        lines += _field_lines(count)
    if seen.duplicates:
        worst = max(seen.duplicates, key=lambda name: seen.duplicates[name])
        total = sum(seen.duplicates.values())
        lines.append(
            f"duplicates: {total} points of {len(seen.duplicates)} samples lie where another one does (most: {worst})"
        )
    else:
        lines.append("duplicates: no two points of a sample at one place")
    lines += [*precision_lines(seen), *sample_lines(seen)]
    lines += [f"missing: {name!r} in {n} samples" for name, n in seen.missing.most_common(SHOWN)]
    lines += [f"cannot be used: {message}" for message in list(seen.bad.values())[:SHOWN]]
    if len(seen.bad) > SHOWN:
        lines.append(f"cannot be used: {len(seen.bad) - SHOWN} more samples")
    fields = [f"  {name} ({place}), in {n} samples" for (name, place), n in seen.available.most_common(50)]
    lines += ["fields in the files:", *fields] if fields else ["fields in the files: none"]
    return lines + left_out_lines(f"{name!r} in {n} samples" for name, n in seen.left_out.most_common(50))


def _field_lines(count: FieldCount) -> list[str]:
    info = count.info
    head = f"field {info.source!r} ({info.kind}, {info.columns} columns, {count.samples} samples)"
    if count.values == count.nan + count.infinite:
        return [f"{head}: no finite values of {count.values}"]
    result = count.statistics.result()
    columns = [
        f"[{low:.6g}, {high:.6g}] mean {mean:.6g} std {std:.6g}"
        for low, high, mean, std in zip(result["min"], result["max"], result["mean"], result["std"], strict=True)
    ]
    return [f"{head}: NaN {count.nan}, infinite {count.infinite}; range {'; '.join(columns)}"]
