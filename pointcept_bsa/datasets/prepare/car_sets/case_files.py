"""The raw files of a case: where they lie, and the coefficients in the published tables."""

from __future__ import annotations

import csv
import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from pointcept_bsa.datasets.car_sets.spec import CarSet, Coefficients, Domain
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.source import decoded, read_file

PART = re.compile(r"\.(\d+)\.part$")
ALIKE = "DrivAer_"  # a prefix that early tables have before the names of the designs
Scalars = dict[str, dict[str, Any]]


def domain_files(src: Path, domain: Domain, case: str) -> list[list[Path]] | str:
    """For each source of the domain its file, or the parts of it in order; or the pattern of one that is not there.

    Raises:
        InputError: several files where one is wanted, a part that is missing between others.
    """
    found = []
    for source in domain.sources:
        pattern = filled(source.pattern, case)
        files = sorted(src.glob(pattern)) or sorted(src.glob(f"{pattern}.*.part"))
        if not files:
            return pattern
        parts = [PART.search(file.name) for file in files]
        if len(files) > 1 and not all(parts):
            raise InputError(f"--src: {case!r} has {len(files)} files {pattern}, wanted one")
        numbers = sorted(int(part[1]) for part in parts if part)
        if numbers != list(range(len(numbers))):
            raise InputError(f"--src: {src / pattern} has parts {numbers}, wanted all from 0 on")
        found.append(files)
    return found


def coefficient_file(src: Path, spec: CarSet, case: str, given: str | None) -> Path:
    """The table that has the coefficients of a case: ``given``, or where the set has it."""
    return Path(given) if given is not None else src / filled(spec.scalars.pattern, case)


def filled(pattern: str, case: str) -> str:
    """The pattern for a case such as ``run_7`` or ``F_D_WM_WW_0007``."""
    group, _, number = case.rpartition("_")
    return pattern.format(case=case, number=number, group=group)


def read_coefficients(table: Coefficients, path: Path, case: str) -> Scalars:
    """Name -> ``{"value", "unit"}`` of a case.

    Raises:
        InputError: no such file, no row of the case, a missing column, anything but a finite number.
    """
    head, rows = _rows(path, table.key, path.stat().st_mtime_ns if path.is_file() else 0)
    row = rows.get(case if table.key is not None else "")
    if row is None:
        raise InputError(f"{path}: has no row of {case!r}, wanted one for each case")
    values = dict(zip(head, row, strict=True))
    named = {header.lower(): name for name, header in table.columns.items()}
    for header, name in named.items():
        if header not in values:
            raise InputError(f"{path}: has columns {head}, wanted {header!r} for {name}")
    scalars = {named[header]: _number(values[header], header, case, path) for header in named}
    for header, text in values.items():
        if header not in named and header != (table.key or "").lower():
            scalars[header] = _number(text, header, case, path)
    return {name: {"value": value, "unit": "1"} for name, value in scalars.items()}


@lru_cache(maxsize=1)  # one table has all cases of some sets
def _rows(path: Path, key: str | None, changed: int) -> tuple[list[str], dict[str, list[str]]]:
    """Headers in lower case, and the rows by the entry of the key column; without a key the only row, by ""."""
    text = decoded(read_file(path, "a table of coefficients"))
    try:
        lines = [[entry.strip() for entry in line] for line in csv.reader(text.splitlines()) if line]
    except csv.Error as error:
        raise InputError(f"{path}: is no table ({error})") from None
    head = [entry.lower() for entry in lines[0]] if lines else []
    if len(set(head)) != len(head):
        raise InputError(f"{path}: has columns {head}, wanted different ones")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(head):
            raise InputError(f"{path}: row {number} has {len(line)} entries, wanted {len(head)}")
    if key is None:
        if len(lines) != 2:
            raise InputError(f"{path}: has {len(lines)} rows, wanted a row of names and one of numbers")
        return head, {"": lines[1]}
    if key.lower() not in head:
        raise InputError(f"{path}: has columns {head}, wanted {key!r}")
    column = head.index(key.lower())
    return head, {line[column].removeprefix(ALIKE): line for line in lines[1:]}


def _number(text: str, header: str, case: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: {header!r} of {case!r} is {text[:40]!r}, wanted a finite number")
    return value
