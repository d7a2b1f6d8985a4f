"""Writing the prepared folder: whole files or none, statistics, split, card."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.arrays import read_npy
from pointcept_bsa.datasets.base import split_hash
from pointcept_bsa.datasets.inputs import offset_of
from pointcept_bsa.datasets.prepared import sample_folder_name
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.files.json_file import json_text, read_json
from pointcept_bsa.files.npy_file import save_npy

Protocols = dict[str, dict[str, list[str]]]
FORBIDDEN = set('\\:*?"<>|')  # of file names on some systems, or with a meaning there
MAX_NAME = 200  # bytes of a sample's folder name: 255 less what is added to it in exports


def write_sample(root: Path, sample_id: str, arrays: dict[str, np.ndarray]) -> None:
    """Write one sample's arrays; its folder appears under its name only when all of them are there.

    Raises:
        InputError: a name that makes no folder of its own under ``root``.
    """
    final = root / sample_folder_name(sample_id)
    if final.name.startswith(".") or final.parent != root:
        raise InputError(f"--src: has a sample named {sample_id!r}, wanted a name that makes a folder, no leading dot")
    part = root / f".{final.name}.part"
    if part.exists():  # left by a run that was cut short
        shutil.rmtree(part)
    part.mkdir(parents=True)
    for field, values in arrays.items():
        save_npy(part / f"{field}.npy", values)
    if final.exists():
        shutil.rmtree(final)
    part.rename(final)


def is_finished(root: Path, sample_id: str, fields: Iterable[str], wide: Sequence[str] = ()) -> bool:
    """Tell whether a sample is there with all of ``fields``, every file whole, those of ``wide`` in float64."""
    folder = root / sample_folder_name(sample_id)
    try:
        for field in fields:
            values = read_npy(folder / f"{field}.npy", kind="fiu")
            if field in wide and values.dtype.itemsize < 8:
                return False
    except InputError:
        return False
    return True


def check_sample_names(names: Sequence[str]) -> None:
    """Raise ``InputError`` for a name that makes no folder of its own; spaces and letters of all languages are fine."""
    folders: dict[str, str] = {}
    for name in names:
        folder = sample_folder_name(name)
        parts = name.split("/")
        good = name.isprintable() and not FORBIDDEN & set(name) and len(folder.encode(errors="replace")) <= MAX_NAME
        if not good or any(part.startswith(".") or part != part.strip() or not part for part in parts):
            raise InputError(
                f"--src: has a sample named {name!r}, wanted printable characters, none of "
                f"{' '.join(sorted(FORBIDDEN))}, no leading dot, no space at the ends, at most {MAX_NAME} bytes"
            )
        key = unicodedata.normalize("NFC", folder).casefold()
        if key in folders:
            raise InputError(
                f"--src: samples {folders[key]!r} and {name!r} would share a folder, wanted names that differ in more "
                "than case, accents, '/' and '__'"
            )
        folders[key] = name


def check_destination(root: Path, needed: int = 0) -> None:
    """Raise ``InputError`` if no folder ``root`` can be made and filled there with ``needed`` bytes."""
    there = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--dst: {there} is a file, wanted a folder, or a place for one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--dst: {there} cannot be written to, wanted a folder that can")
    free = shutil.disk_usage(there).free
    if needed > free:
        raise InputError(f"--dst: {there} has {free / 1e6:.1f} MB free, wanted {needed / 1e6:.1f} MB")


def refuse_other_data(root: Path, sample_ids: Iterable[str], overwrite: bool) -> None:
    """Raise ``InputError`` if ``root`` cannot be a folder, or holds a finished preparation that this would orphan."""
    check_destination(root)
    path = root / "split.json"
    if overwrite or not path.is_file():
        return
    try:
        protocols = read_json(path, words_as_null=True)["protocols"]
        present = {name for lists in protocols.values() for names in lists.values() for name in names}
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # a foreign or damaged split.json is replaced
    orphans = present - set(sample_ids)
    if orphans:
        raise InputError(
            f"--dst: {root} already holds other data (protocols {sorted(protocols)}, {len(present)} samples), "
            "wanted another folder or --overwrite"
        )


def field_statistics(
    root: Path, protocols: Protocols, fields: Sequence[str], wide: Sequence[str] = (), trained: bool = False
) -> dict[str, Any]:
    """Return the content of ``stats.json``: mean, std, min, max of every field over each protocol's training split.

    Args:
        wide: fields that are there in float64; those far from 0 get an offset, see ``datasets.inputs``.
        trained: also of each training split without its holdout, where it has one.
    """
    train = {(protocol, False): set(lists["train"]) for protocol, lists in protocols.items()}
    if trained:
        apart = {(p, True): set(lists["train"]) - set(lists["holdout"]) for p, lists in protocols.items() if
                 lists.get("holdout")}  # fmt: skip
        train |= {key: names for key, names in apart.items() if names}
    running = {key: {field: RunningStatistics() for field in fields} for key in train}
    for sample_id in sorted(set().union(*train.values())):
        for field in fields:
            values = read_npy(root / sample_folder_name(sample_id) / f"{field}.npy")
            for key, names in train.items():
                if sample_id in names:
                    running[key][field].update(values)
    content: dict[str, Any] = {}
    for (protocol, is_trained), statistics in running.items():
        results = {field: s.result() for field, s in statistics.items()}
        own = {"samples": len(train[protocol, is_trained]), "fields": results}
        if is_trained:  # comes after the whole split
            content[protocol]["trained"] = own
            continue
        content[protocol] = own
        offsets = {field: offset_of(field, results[field]["min"], results[field]["max"]) for field in wide}
        if found := {field: offset for field, offset in offsets.items() if offset is not None}:
            content[protocol]["offsets"] = found
    return {"protocols": content}


def finish(
    root: Path,
    protocols: Protocols,
    default: str,
    fields: Sequence[str],
    card_text: str,
    statistics: dict[str, Any] | None = None,
) -> None:
    """Write ``stats.json``, the card ``README.md`` and, last, ``split.json``, which says that all is there.

    ``statistics`` is the content of ``stats.json`` where it is not that of ``field_statistics``.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / "stats.json", json_text(statistics or field_statistics(root, protocols, fields)))
    write_text(root / "README.md", card_text + _split_table(protocols, default))
    write_text(root / "split.json", json_text({"default": default, "protocols": protocols}))


def _split_table(protocols: Protocols, default: str) -> str:
    rows = ["", "## Splits", "", "| protocol | part | samples | hash |", "|---|---|---|---|"]
    for protocol, lists in protocols.items():
        shown = f"{protocol} (default)" if protocol == default else protocol
        rows += [f"| {shown} | {part} | {len(names)} | {split_hash(names)} |" for part, names in lists.items()]
    rows += ["", "The hash is the first 16 hex digits of the sha256 of the sorted sample names, one a line.", ""]
    return "\n".join(rows)
