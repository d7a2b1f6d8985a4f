"""Published lists of cases: a manifest, a folder of lists, or a draw that is known."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.datasets.base import SPLITS
from pointcept_bsa.datasets.car_sets.spec import CarSet, DrawnSplit
from pointcept_bsa.datasets.prepare.layout import Protocols
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.json_file import parse_json
from pointcept_bsa.mesh_io.source import decoded, read_file

KEY = re.compile(r"(.+)_(train|val|test)")
PUBLISHED = "published"  # the protocol of lists without a name


def published_protocols(spec: CarSet, path: str | None) -> Protocols:
    """The protocols of ``--splits``, or what is known of the set.

    Args:
        path: a ``.json`` of lists ``<protocol>_train``, ``_val``, ``_test`` (at the top or under "splits"), or a folder
            of files ``train*.txt``, ``val*.txt``, ``test*.txt`` with a case a line.

    Raises:
        InputError: no lists, a case in two parts of one protocol, none known.
    """
    if path is None:
        if spec.drawn is None:
            raise InputError(f"--splits: is missing, wanted the published lists of {spec.title}: {spec.splits}")
        return {spec.drawn.name: drawn(spec.drawn, spec.prefix or "")}
    found = _folder_lists(Path(path)) if Path(path).is_dir() else _manifest(Path(path), spec.prefix)
    for name, parts in found.items():
        cases = [case for part in parts.values() for case in part]
        if len(set(cases)) != len(cases):
            raise InputError(f"--splits {path}: protocol {name!r} has a case twice, wanted every case in one part")
    return found


def drawn(split: DrawnSplit, prefix: str) -> dict[str, list[str]]:
    """The lists of a published draw, in rising order."""
    order = torch.randperm(split.total, generator=torch.Generator().manual_seed(split.seed)) + split.first
    numbers = [number for number in order.tolist() if number not in split.held_back]
    lists, start = {}, 0
    for part, count in split.parts:
        lists[part] = [f"{prefix}{number}" for number in sorted(numbers[start : start + count])]
        start += count
    return {part: lists[part] for part in SPLITS}


def chosen_first(protocols: Protocols, name: str | None) -> Protocols:
    """The protocols with ``name`` as the default: the first. Raises ``InputError`` where it is none of them."""
    if name is None:
        return protocols
    if name not in protocols:
        raise InputError(f"--split: got {name!r}, wanted one of {list(protocols)}{nearest(name, list(protocols))}")
    return {name: protocols[name], **protocols}


def without(protocols: Protocols, cases: Collection[str]) -> Protocols:
    """The protocols without some cases; one that loses any is called "<name> partial", one left without a part goes."""
    left: Protocols = {}
    for name, parts in protocols.items():
        kept = {part: [case for case in names if case not in cases] for part, names in parts.items()}
        changed = any(len(kept[part]) < len(parts[part]) for part in parts)
        if kept["train"] and kept["test"]:
            left[f"{name} partial" if changed else name] = kept
    return left


def _manifest(path: Path, prefix: str | None) -> Protocols:
    content = parse_json(read_file(path, "the published lists of cases"), f"--splits {path}")
    lists = content.get("splits", content) if isinstance(content, dict) else {}
    protocols: Protocols = {}
    for key, names in lists.items() if isinstance(lists, dict) else ():
        found = KEY.fullmatch(key)
        if found and isinstance(names, list):
            protocols.setdefault(found[1], {})[found[2]] = [_case_name(entry, prefix, path) for entry in names]
    whole = {name: parts for name, parts in protocols.items() if {"train", "test"} <= set(parts)}
    if not whole:
        raise InputError(
            f"--splits {path}: has no lists <protocol>_train and <protocol>_test, wanted those of a manifest"
        )
    return {name: _with_validation(parts) for name, parts in whole.items()}


def _case_name(entry: Any, prefix: str | None, path: Path) -> str:
    number = str(entry) if isinstance(entry, int) and not isinstance(entry, bool) else entry
    if not isinstance(number, str) or not number:
        raise InputError(f"--splits {path}: has the entry {str(entry)[:40]!r}, wanted names or numbers of cases")
    return f"{prefix}{int(number)}" if prefix is not None and number.isdecimal() else number


def _folder_lists(folder: Path) -> Protocols:
    parts = {}
    for part in SPLITS:
        files = sorted(folder.glob(f"{part}*.txt"))
        if len(files) > 1 or (not files and part != "val"):
            raise InputError(f"--splits {folder}: has {len(files)} files {part}*.txt, wanted one")
        for file in files:
            lines = decoded(read_file(file, "a list of cases")).splitlines()
            parts[part] = [line.strip() for line in lines if line.strip()]
    return {PUBLISHED: _with_validation(parts)}


def _with_validation(parts: dict[str, list[str]]) -> dict[str, list[str]]:
    if "val" in parts:
        return {part: parts[part] for part in SPLITS}
    return {**parts, "holdout": []}
