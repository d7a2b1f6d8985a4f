"""Writing the samples of a data set one by one: what is there stays, what is missing is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.arrays import check_finite
from pointcept_bsa.datasets.inputs import check_narrowed
from pointcept_bsa.datasets.prepare.layout import (
    Protocols,
    check_sample_names,
    finish,
    is_finished,
    refuse_other_data,
    write_sample,
)
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.progress import Progress

Arrays = Mapping[str, np.ndarray]


def write_samples(
    dst: str | Path,
    protocols: Protocols,
    fields: Sequence[str],
    load: Callable[[str], tuple[Arrays, str]],
    card: str,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    unit: str = "samples",
) -> None:
    """Write the prepared folder ``dst``: samples, statistics of the training splits, card, split.

    Args:
        protocols: protocol -> part -> sample names; the first protocol is the default.
        fields: names of the arrays of a sample.
        load: sample name -> its arrays (converted to float32) and the place they come from, for errors. An array
            "face" (F, 3|4) of integers beside ``fields`` is written too.
        card: text of ``README.md``, completed by the table of splits.
        dry_run: report what would be written, write nothing; a sample that would stop a run is an error here, too.
        overwrite: write samples again that are there, replace other data.
        unit: what a sample is called in messages.

    Raises:
        InputError: NaN or infinity in a sample, a name that makes no folder, other data in ``dst``.
    """
    root = Path(dst)
    names = list(dict.fromkeys(n for parts in protocols.values() for part in parts.values() for n in part))
    check_sample_names(names)
    refuse_other_data(root, names, overwrite)
    todo = [name for name in names if overwrite or not is_finished(root, name, fields)]
    default = next(iter(protocols))
    if dry_run:
        print(f"dry run: nothing is written. {len(names)} {unit}, {len(todo)} to write into {root}")
        for protocol, parts in protocols.items():
            counts = ", ".join(f"{part} {len(part_names)}" for part, part_names in parts.items())
            print(f"protocol {protocol}{' (default)' if protocol == default else ''}: {counts}")
        for name in todo:
            _checked(name, fields, *load(name))
        return
    write_missing(root, todo, lambda name: _checked(name, fields, *load(name)), unit)
    finish(root, protocols, default, fields, card)
    print(f"prepared {len(names)} {unit} in {root} ({len(todo)} written, {len(names) - len(todo)} were there)")


def write_missing(
    root: Path, names: Sequence[str], load: Callable[[str], dict[str, np.ndarray]], unit: str = "samples"
) -> None:
    """Write these samples into ``root``, with a line of progress; ``load``: sample name -> its arrays."""
    root.mkdir(parents=True, exist_ok=True)
    progress = Progress("prepare", len(names), unit=unit)
    for name in names:
        write_sample(root, name, load(name))
        progress.update()
    progress.close()


def write_listed(
    root: Path,
    lists: Mapping[str, Sequence[str]],
    fields: Sequence[str],
    load: Callable[[str], dict[str, np.ndarray]],
    conclude: Callable[[], None],
    *,
    dry_run: bool,
    overwrite: bool,
    unit: str,
) -> None:
    """Write samples of published lists, of any kind of numbers, into ``root``.

    Args:
        lists: split -> sample names.
        load: sample name -> its arrays, checked.
        conclude: writes what belongs to all of them, when they are there.
        dry_run, overwrite, unit: see :func:`write_samples`.

    Raises:
        InputError: what ``load`` raises, other data in ``root``.
    """
    names = [name for part in lists.values() for name in part]
    refuse_other_data(root, names, overwrite)
    todo = [name for name in names if overwrite or not is_finished(root, name, fields)]
    if dry_run:
        for name in todo:
            load(name)
        counts = ", ".join(f"{part} {len(found)}" for part, found in lists.items())
        print(f"dry run: nothing is written. {len(names)} {unit} ({counts}), {len(todo)} to write into {root}")
        return
    write_missing(root, todo, load, unit)
    conclude()
    print(f"prepared {len(names)} {unit} in {root} ({len(todo)} written, {len(names) - len(todo)} were there)")


def _checked(name: str, fields: Sequence[str], arrays: Arrays, where: str) -> dict[str, np.ndarray]:
    checked = {}
    for field in fields:
        check_finite(arrays[field], field, where)
        with np.errstate(over="ignore"):
            checked[field] = np.ascontiguousarray(arrays[field], dtype=np.float32)
        check_narrowed(checked[field], field, where)
    if "face" in arrays:
        checked["face"] = np.ascontiguousarray(arrays["face"], dtype=np.int32)
    if len(checked["coord"]) == 0:
        raise InputError(f"{where}: sample {name!r} has no points, wanted at least one")
    return checked


def source_file(src: str | None, wanted: str) -> Path:
    """Return ``src`` as a path.

    Raises:
        InputError: it is not a file.
    """
    if src is None or not Path(src).is_file():
        raise InputError(f"--src: got {src!r}, wanted the file {wanted}")
    return Path(src)


def check_shapes(path: str | Path, arrays: Arrays, wanted: Mapping[str, tuple[int | None, ...]]) -> None:
    """Raise ``InputError`` unless every array has its wanted shape (None: any length)."""
    for key, shape in wanted.items():
        found = arrays[key].shape
        if len(found) != len(shape) or any(w is not None and f != w for f, w in zip(found, shape, strict=True)):
            text = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
            raise InputError(f"{path}: {key!r} has shape {found}, wanted {text}")
        if arrays[key].dtype.kind not in "fiu":
            raise InputError(f"{path}: {key!r} holds {arrays[key].dtype} values, wanted numbers")


def check_offsets(path: str | Path, offsets: np.ndarray, count: int, total: int) -> None:
    """Raise ``InputError`` unless ``offsets`` (count + 1,) rise from 0 to ``total``."""
    rising = offsets.dtype.kind in "iu" and len(offsets) == count + 1 and bool(np.all(np.diff(offsets) > 0))
    if not rising or offsets[0] != 0 or offsets[-1] != total:
        raise InputError(f"{path}: 'offsets' has {len(offsets)} entries, wanted {count + 1}, rising from 0 to {total}")
