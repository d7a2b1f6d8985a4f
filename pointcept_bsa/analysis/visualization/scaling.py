"""Runtime over the number of points, from the results of ``tools/benchmark.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.benchmark.plot import draw_times
from pointcept_bsa.analysis.benchmark.report import Row
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import read_json

WITH_DEFAULT = [each.name for each in fields(Row) if each.default is not MISSING]  # null there: none was written


def draw_scaling(results: Sequence[str], output: Path) -> Path:
    """One picture of the rows of all results: files ``benchmark.json`` or folders that hold one.

    Raises:
        InputError: no such file, or another kind of file.
    """
    contents = [read_results(path) for path in results]
    rows: list[Row] = []
    for path, (part, _) in zip(results, contents):
        taken = {row.name for row in rows}
        for row in part:
            if row.name in taken:
                row.name = f"{row.name} ({Path(path).parent.name if Path(path).is_file() else Path(path).name})"
            rows.append(row)
    environments = [content["environment"] for _, content in contents]
    title = "; ".join(dict.fromkeys(f"{e.get('device', '?')}, {e.get('dtype', '?')}" for e in environments))
    draw_times(output, rows, contents[0][1].get("baseline"), title)
    return output


def read_results(path: str) -> tuple[list[Row], dict[str, Any]]:
    """Rows and the whole content of a result file. Raises InputError."""
    file = Path(path) / "benchmark.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise InputError(f"RESULT {path!r}: no such file, wanted the benchmark.json of tools/benchmark.py")
    content = read_json(file, words_as_null=True)
    try:
        complete = [{"mode": "", "ops": "", **row} for row in content["rows"]]  # which older results lack
        rows = [_row(row) for row in complete]
        texts = [content["environment"].get(key, "") for key in ("device", "dtype")] + [content.get("baseline") or ""]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a name that is no text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"RESULT {path!r}: not a result of tools/benchmark.py ({error})") from error
    if not rows:
        raise InputError(f"RESULT {path!r}: it has no rows")
    return rows, content


def _row(values: Mapping[str, Any]) -> Row:
    """Raises ValueError for an entry that is not of the kind that ``Row`` says, TypeError for one that is missing."""
    given = {each.name: values[each.name] for each in fields(Row) if each.name in values}
    row = Row(**{name: value for name, value in given.items() if value is not None or name not in WITH_DEFAULT})
    for each in fields(Row):
        value, kinds = getattr(row, each.name), str(each.type).split(" | ")
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300
        good = {
            "None": value is None,
            "str": isinstance(value, str),
            "int": number and isinstance(value, int),
            "float": number,
        }
        if not any(good[kind] for kind in kinds) or (each.name in ("points", "batch_size") and value < 1):
            raise ValueError(f"{each.name} is {str(value)[:40]!r}")
    return row
