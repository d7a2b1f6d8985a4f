"""Global parameters of samples from a CSV or JSON file.

CSV: a first line of names, the first column is the sample. JSON: ``{"sample": {"mach": 0.7, ..}, ..}``, or a list of
such objects with an entry ``name``.
"""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import parse_json
from pointcept_bsa.mesh_io.source import decoded, read_file

Table = dict[str, dict[str, float]]  # sample -> parameter -> value


def read_parameters(path: str | Path) -> Table:
    """Return the parameters of every sample of a ``.csv`` or ``.json`` file.

    Raises:
        InputError: another suffix, an unreadable file, a sample that is there twice, anything but finite numbers.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise InputError(f"--parameters: got {str(path)!r}, wanted a .csv or .json file")
    try:
        content, fault = decoded(read_file(path, "a table of parameters")), f"{path}: is no table of parameters"
        if suffix == ".csv":
            rows = _csv_rows(content, path)
        else:
            rows = _json_rows(parse_json(content, fault))
    except (ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is no table of parameters ({' '.join(str(error).split())[:100]})") from None
    table: Table = {}
    for given, row in rows:
        name = plain_name(given)
        if name in table:
            raise InputError(f"{path}: sample {name!r} is there twice, wanted once")
        _refuse_alike([str(key) for key in row], "parameters", f"{path}: sample {name!r}")
        table[name] = {plain_name(key): _number(value, key, name, path) for key, value in row.items()}
    return table


def plain_name(name: str) -> str:
    """Return the name as names are compared: no spaces around it, accents in one way (NFC; files of macOS: NFD)."""
    return unicodedata.normalize("NFC", name.strip())


def check_rows(table: Table, names: Iterable[str], path: str | Path) -> None:
    """Raise ``InputError`` where one row would be that of two samples: ``a/case1`` and ``b/case1`` for ``case1``."""
    owners: dict[str, str] = {}
    for name in names:
        row = _row_name(table, name)
        if row is not None and owners.setdefault(row, name) != name:
            raise InputError(
                f"--parameters {path}: row {row!r} fits the samples {owners[row]!r} and {name!r}, "
                "wanted a row for each, by its whole name"
            )


def parameters_of(table: Table, name: str) -> dict[str, float]:
    """Return the parameters of a sample: its row by the whole name or by the last part of it; empty if none."""
    row = _row_name(table, name)
    return {} if row is None else table[row]


def no_row(table: Table, name: str) -> str:
    """Words for a sample that a table has no row for; none where it has one, or where there is no table."""
    if not table or _row_name(table, name) is not None:
        return ""
    names = ", ".join(map(repr, sorted(table)[:3])) + (", ..." if len(table) > 3 else "")
    return f"; --parameters has no row for the sample {name!r} (it has {names}), wanted its name in the first column"


def _row_name(table: Table, name: str) -> str | None:
    whole = plain_name(name)
    return next((row for row in (whole, whole.rsplit("/", 1)[-1]) if row in table), None)


def _refuse_alike(names: Iterable[str], what: str, where: str) -> None:
    """Names that differ in spaces, case or the way an accent is written only are meant to be one, or to be mistaken."""
    seen: dict[str, str] = {}
    for name in names:
        key = plain_name(name).casefold()
        if key in seen:
            raise InputError(f"{where}: {what} {seen[key]!r} and {name!r} have one name, wanted different names")
        seen[key] = name


def _csv_rows(text: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    lines = [line for line in csv.reader(text.splitlines()) if line]
    if len(lines) < 2 or len(lines[0]) < 2:
        raise ValueError("wanted a line of different names, then a line a sample")
    head = [name.strip() for name in lines[0]]
    _refuse_alike(lines[0], "columns", str(path))
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(head):
            raise ValueError(f"row {number} has {len(line)} entries, wanted {len(head)}")
    return [(line[0], dict(zip(head[1:], line[1:], strict=True))) for line in lines[1:]]


def _json_rows(content: Any) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(content, dict) and all(isinstance(row, dict) for row in content.values()):
        return list(content.items())
    if isinstance(content, list) and all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in content):
        return [(row["name"], {key: value for key, value in row.items() if key != "name"}) for row in content]
    raise ValueError("wanted an object of objects, or a list of objects with a 'name'")


def _number(value: Any, key: str, name: str, path: Path) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{path}: parameter {key!r} of sample {name!r} is {str(value)[:40]!r}, wanted a finite number")
    return number
