"""Rows of results as a table, CSV and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.benchmark.case import NEEDS_CUDA, NOT_ASKED, OK, OOM, TOO_SLOW, Measurement, Plan
from pointcept_bsa.analysis.benchmark.settings import Entry
from pointcept_bsa.analysis.benchmark.variants import REFERENCE
from pointcept_bsa.arguments.words import MODES
from pointcept_bsa.files.atomic import write_csv, write_text
from pointcept_bsa.files.json_file import write_json


@dataclass
class Row:
    """One config at one size in one mode. None where there is no value; ``forward`` and ``train`` are "ok" or say why.

    ``gflops`` is of the forward pass over the batch, ``points`` of one cloud, ``points_per_second`` of training.
    ``memory_gib`` is of the train step. ``forward_x``, ``train_x``, ``memory_x`` are the value of the baseline in the
    same mode over this one's: above 1 is better than it; ``*_reference_x`` likewise of the same config with its
    operators in plain torch.
    """

    name: str
    backbone: str
    config: str
    options: str
    points: int
    batch_size: int
    dtype: str
    mode: str
    ops: str
    parameters: int | None
    gflops: float | None
    forward: str
    forward_ms: float | None
    forward_iqr_ms: float | None
    forward_repeats: int
    train: str
    train_ms: float | None
    train_iqr_ms: float | None
    train_repeats: int
    memory_gib: float | None
    points_per_second: float | None
    forward_memory_gib: float | None = None
    forward_backend: str | None = None
    train_backend: str | None = None
    note: str = ""
    forward_x: float | None = None
    train_x: float | None = None
    memory_x: float | None = None
    forward_reference_x: float | None = None
    train_reference_x: float | None = None
    memory_reference_x: float | None = None


def make_row(entry: Entry, cfg: Mapping[str, Any], points: int, plan: Plan, result: Measurement) -> Row:
    """A measurement as a row, without ratios."""
    forward, train = result.forward_time, result.train_time
    return Row(
        name=entry.name,
        backbone=str((cfg["model"].get("backbone") or cfg["model"]).get("type")),
        config=entry.path,
        options=" ".join(entry.options),
        points=points,
        batch_size=plan.batch_size,
        dtype=plan.dtype,
        mode=plan.mode,
        ops=plan.ops or "",
        parameters=result.parameters,
        gflops=result.gflops,
        forward=result.forward,
        forward_ms=forward.median_ms if forward else None,
        forward_iqr_ms=forward.iqr_ms if forward else None,
        forward_repeats=forward.repeats if forward else 0,
        train=result.train,
        train_ms=train.median_ms if train else None,
        train_iqr_ms=train.iqr_ms if train else None,
        train_repeats=train.repeats if train else 0,
        memory_gib=result.memory_gib,
        points_per_second=points * plan.batch_size / train.median_ms * 1e3 if train else None,
        forward_memory_gib=result.forward_memory_gib,
        forward_backend=result.forward_backend,
        train_backend=result.train_backend,
        note="; ".join(filter(None, [result.note, _refused(result)])),
    )


def _refused(result: Measurement) -> str:
    return f"left out: attention backend {', '.join(dict.fromkeys(result.refused))}" if result.refused else ""


def add_ratios(rows: Sequence[Row], baseline: str | None) -> None:
    """Fill in the ratios between rows of the same size and mode, in place."""
    for row in rows:
        for base in rows:
            if (base.points, base.mode) != (row.points, row.mode):
                continue
            if base.name == baseline and base.ops != REFERENCE:
                row.forward_x = _ratio(base.forward_ms, row.forward_ms)
                row.train_x = _ratio(base.train_ms, row.train_ms)
                row.memory_x = _ratio(base.memory_gib, row.memory_gib)
            if base.name == row.name and base.ops == REFERENCE != row.ops:
                row.forward_reference_x = _ratio(base.forward_ms, row.forward_ms)
                row.train_reference_x = _ratio(base.train_ms, row.train_ms)
                row.memory_reference_x = _ratio(base.memory_gib, row.memory_gib)


def _ratio(base: float | None, own: float | None) -> float | None:
    return base / own if base and own else None


def table(rows: Sequence[Row], baseline: str | None, plan: Plan) -> str:
    """An aligned Markdown table, and below it what is not as it was asked for."""
    columns = _columns(rows, baseline)
    cells = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    notes = [f"x: {baseline} over this config, above 1 is better than it"] if baseline is not None else []
    if plan.static_geometry:
        notes.append("trees of the points and neighbours are given, where a network takes them (--static-geometry)")
    if any(row.ops == REFERENCE for row in rows):
        notes.append("ref x: the same config with its operators in plain torch over this row, above 1 is better")
    notes += [f"{_where(row)}: {text}" for row in rows for text in _shortfalls(row, plan)]
    return "\n".join([*aligned(cells), *(["", *notes] if notes else [])])


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, the first of ``cells`` its header; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    first, *rest = (_line(line, widths) for line in cells)
    return [first, rule, *rest]


def _columns(rows: Sequence[Row], baseline: str | None) -> dict[str, Callable[[Row], str]]:
    """What a row has under each heading; modes, operators and references only where there is more than one."""
    columns: dict[str, Callable[[Row], str]] = {"config": lambda row: row.name}
    if {row.mode for row in rows} - {MODES[0]}:
        columns["mode"] = lambda row: row.mode
    has_reference = any(row.ops == REFERENCE for row in rows)
    if has_reference:
        columns["ops"] = lambda row: row.ops
    if len({row.dtype for row in rows}) > 1:
        columns["dtype"] = lambda row: row.dtype
    columns |= {
        "N": lambda row: f"{row.points:,}",
        "parameters": lambda row: "" if row.parameters is None else f"{row.parameters:,}",
        "GFLOPs": lambda row: number(row.gflops),
        "forward ms (IQR)": lambda row: _time_cell(row.forward, row.forward_ms, row.forward_iqr_ms),
        "train ms (IQR)": lambda row: _time_cell(row.train, row.train_ms, row.train_iqr_ms),
        "memory GiB": lambda row: "n/a" if row.memory_gib is None else number(row.memory_gib),
        "points/s": lambda row: number(row.points_per_second),
    }
    if baseline is not None:
        columns |= {
            "forward x": lambda row: number(row.forward_x),
            "train x": lambda row: number(row.train_x),
            "memory x": lambda row: number(row.memory_x),
        }
    if has_reference:
        columns |= {
            "forward ref x": lambda row: number(row.forward_reference_x),
            "train ref x": lambda row: number(row.train_reference_x),
            "memory ref x": lambda row: number(row.memory_reference_x),
        }
    return columns


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join([first.strip().ljust(widths[0]), *rest]) + " |"


def _time_cell(status: str, median: float | None, spread: float | None) -> str:
    if median is None:
        return {OOM: "OOM", TOO_SLOW: "too slow", NOT_ASKED: "-", NEEDS_CUDA: NEEDS_CUDA}.get(status, "failed")
    return f"{number(median)} ({number(spread) or 'one call'})"


def _where(row: Row) -> str:
    mode = f" {row.mode}" if row.mode != MODES[0] else ""
    return f"{row.name}{mode}{' in plain torch' if row.ops == REFERENCE else ''}, N={row.points:,}"


def _shortfalls(row: Row, plan: Plan) -> Iterator[str]:
    if row.note:
        yield row.note
    if row.forward_backend or row.train_backend:
        yield f"fastest attention backend: {row.forward_backend} (forward), {row.train_backend} (train)"
    for what, status, done in (
        ("forward", row.forward, row.forward_repeats),
        ("train", row.train, row.train_repeats),
    ):
        if status not in (OK, NOT_ASKED, NEEDS_CUDA):  # the cells say that
            yield f"{what}: {status}"
        if 0 < done < plan.repeats and "extrapolated" not in row.note:
            yield f"{what}: {done} of {plan.repeats} repeats in --max-seconds {plan.max_seconds:g}"


def number(value: float | None) -> str:
    """Three digits, or whole numbers from 100 on; an empty string for None."""
    if value is None:
        return ""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}" if abs(value) >= 0.9995 else f"{value:#.3g}"


def progress_line(row: Row, plan: Plan, predicted: float) -> str:
    """One case in one line."""
    text = f"{_where(row).replace(', N', ' N')}: forward {_time_cell(row.forward, row.forward_ms, row.forward_iqr_ms)}"
    if row.train != NOT_ASKED:
        text += f", train {_time_cell(row.train, row.train_ms, row.train_iqr_ms)}"
    if row.forward == TOO_SLOW:
        return f"{text}: skipped, predicted to take {predicted:.0f} s or more, --max-seconds {plan.max_seconds:g}"
    text += " ms" + (f", {number(row.memory_gib)} GiB" if row.memory_gib is not None else "")
    short = [note for note in _shortfalls(row, plan) if not note.endswith((OOM, TOO_SLOW))]
    return f"{text} ({'; '.join(short)})" if short else text


def write_results(
    folder: Path, rows: Sequence[Row], environment: Mapping[str, Any], baseline: str | None, plan: Plan, more: str = ""
) -> None:
    """``benchmark.json`` (environment, baseline, rows), ``.csv`` (rows), ``.md`` (table, ``more``).

    Each is written whole or not at all.
    """
    content = {"environment": dict(environment), "baseline": baseline, "rows": [asdict(row) for row in rows]}
    write_json(folder / "benchmark.json", content)
    write_csv(folder / "benchmark.csv", [f.name for f in fields(Row)], [list(asdict(row).values()) for row in rows])
    note = f"{environment['device']}, torch {environment['versions']['torch']}, {environment['dtype']}"
    note += f", {environment['date'][:10]}: `{environment['command']}`"
    write_text(folder / "benchmark.md", f"{table(rows, baseline, plan)}\n\n{more}{note}\n")


# What each config is worth at its best: the fastest of its modes against the fastest of the baseline's.


def best(rows: Iterable[Row], part: str) -> Row | None:
    """The row with the least ``forward`` or ``train`` time; None where none has one."""
    timed = [row for row in rows if getattr(row, f"{part}_ms") is not None]
    return min(timed, key=lambda row: getattr(row, f"{part}_ms"), default=None)


def summary(rows: Sequence[Row], baseline: str | None, published: dict[str, str]) -> str:
    """A Markdown table over configs and sizes, kernels only; empty unless there is something to choose or compare.

    Args:
        rows: of a whole run.
        baseline: its name.
        published: name of the row of published code that goes with a config, by the config's name.
    """
    own = [row for row in rows if row.ops != REFERENCE]
    if len({row.mode for row in own}) < 2 and not published:
        return ""
    header = ["config at its best", "N", "forward ms", "train ms", "memory GiB"]
    header += ["forward x", "train x", "memory x"] if baseline else []
    header += ["train x published", "memory x published"] if published else []
    cells = [header]
    for points in sorted({row.points for row in own}):
        for name in dict.fromkeys(row.name for row in own):
            mine = _bests(own, name, points)
            line = [name, f"{points:,}"]
            for part, row in zip(("forward", "train"), mine, strict=True):
                line.append(f"{number(getattr(row, f'{part}_ms'))} ({row.mode})" if row else "-")
            line.append(number(mine[1].memory_gib) if mine[1] and mine[1].memory_gib else "n/a")
            line += _ratios(_bests(own, baseline, points), mine) if baseline else []
            line += _ratios(_bests(own, published.get(name), points), mine)[1:] if published else []
            cells.append(line)
    return "\n".join([*aligned(cells), "", "x: the other's best over this one's best, above 1 is better", "", ""])


def _bests(rows: Sequence[Row], name: str | None, points: int) -> tuple[Row | None, Row | None]:
    found = [row for row in rows if (row.name, row.points) == (name, points)]
    return best(found, "forward"), best(found, "train")


def _ratios(theirs: tuple[Row | None, Row | None], mine: tuple[Row | None, Row | None]) -> list[str]:
    pairs = (("forward_ms", 0), ("train_ms", 1), ("memory_gib", 1))
    values = [(getattr(theirs[i], key, None), getattr(mine[i], key, None)) for key, i in pairs]
    return [number(a / b) if a and b else "" for a, b in values]
