"""Writing the prepared folder: whole files or none, statistics, split, card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.arrays import read_npy
from pointcept_bsa.datasets.base import split_hash
from pointcept_bsa.datasets.prepared import sample_folder_name
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text, read_json

Protocols = dict[str, dict[str, list[str]]]


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
        np.save(part / f"{field}.npy", values, allow_pickle=False)
    if final.exists():
        shutil.rmtree(final)
    part.rename(final)


def is_finished(root: Path, sample_id: str, fields: Iterable[str]) -> bool:
    """Tell whether a sample is there with all of ``fields``, every file whole."""
    folder = root / sample_folder_name(sample_id)
    try:
        for field in fields:
            read_npy(folder / f"{field}.npy", kind="fiu")
    except InputError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file in one go: readers see the old one or the new one."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def refuse_other_data(root: Path, sample_ids: Iterable[str], overwrite: bool) -> None:
    """Raise ``InputError`` if ``root`` holds a finished preparation with samples that this one would orphan."""
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


def field_statistics(root: Path, protocols: Protocols, fields: Sequence[str]) -> dict[str, Any]:
    """Return the content of ``stats.json``: mean, std, min, max of every field over each protocol's training split."""
    running = {protocol: {field: RunningStatistics() for field in fields} for protocol in protocols}
    train = {protocol: set(lists["train"]) for protocol, lists in protocols.items()}
    for sample_id in sorted(set().union(*train.values())):
        for field in fields:
            values = read_npy(root / sample_folder_name(sample_id) / f"{field}.npy")
            for protocol in protocols:
                if sample_id in train[protocol]:
                    running[protocol][field].update(values)
    content = {
        protocol: {"samples": len(train[protocol]), "fields": {field: s.result() for field, s in statistics.items()}}
        for protocol, statistics in running.items()
    }
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
