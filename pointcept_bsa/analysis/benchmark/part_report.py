"""Tables and files of :mod:`.parts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.benchmark.report import number
from pointcept_bsa.analysis.benchmark.timeline import Timeline
from pointcept_bsa.analysis.benchmark.timing import Kernel, Profile
from pointcept_bsa.analysis.benchmark.traffic import by_kind
from pointcept_bsa.files.atomic import write_csv, write_text
from pointcept_bsa.files.json_file import write_json

MIB = 2**20
OWN_FILE = ("timelines", "kernels")  # of a row: not in parts.csv


@dataclass
class PartRow:
    """One network at one size on R processes.

    Attributes:
        forward_ms, train_ms: of a forward pass, and of a train step with the sum of gradients and the optimizer's step;
            of the slowest process.
        forward_gib, train_gib: peak of the device's allocator, the most of all processes; None on the CPU.
        sent: bytes that a process sends in a train step, by what they are for, the most of all processes.
        formulas: the same by kind, both directions together, as the formulas have them.
        note: why there are no numbers.
        timelines: by part (forward, train), where the time of the slowest process goes; with ``--profile``.
        kernels: by part, its kernels.
    """

    name: str
    points: int
    processes: int
    forward_ms: float | None = None
    train_ms: float | None = None
    forward_gib: float | None = None
    train_gib: float | None = None
    sent: dict[str, int] = field(default_factory=dict)
    formulas: dict[str, float] = field(default_factory=dict)
    note: str = ""
    timelines: dict[str, Timeline] = field(default_factory=dict)
    kernels: dict[str, list[Kernel]] = field(default_factory=dict)


def part_table(rows: Sequence[PartRow], device: str) -> str:
    """A Markdown table."""
    lines = [
        "| network | points | R | forward ms | train ms | x | forward GiB | train GiB | MiB sent in a train step |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|:---|",
    ]
    for row in rows:
        one = next((r for r in rows if (r.name, r.points, r.processes) == (row.name, row.points, 1)), None)
        faster = one.train_ms / row.train_ms if one is not None and one.train_ms and row.train_ms else None
        values = [row.forward_ms, row.train_ms, faster, row.forward_gib, row.train_gib]
        cells = [row.name, f"{row.points:,}", str(row.processes), *map(number, values), _sent(row) or row.note]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"each of the R processes on {device}; times of the slowest, the most of memory"]
    if any(row.formulas for row in rows):
        notes.append("MiB sent: both directions together; in brackets as the formulas of docs/many_gpus.md have them")
    return "\n".join([*lines, "", *notes])


def _sent(row: PartRow) -> str:
    cells = []
    for kind, size in by_kind(row.sent).items():
        formula = row.formulas.get(kind)
        cells.append(f"{kind} {number(size / MIB)}" + (f" ({number(formula / MIB)})" if formula is not None else ""))
    return ", ".join(cells)


def profiles_of(row: PartRow) -> list[Profile]:
    """What ``--profile`` has seen of a row."""
    return [Profile(row.name, row.points, "eager", f"{part} R={row.processes}", k) for part, k in row.kernels.items()]


def profile_text(row: PartRow) -> str:
    """Where the time goes, and the longest kernels; empty without ``--profile``."""
    lines = []
    for each, (part, timeline) in zip(profiles_of(row), row.timelines.items(), strict=True):
        lines += [f"R={row.processes} {part}, the slowest process: {timeline.line()}", each.table()]
    return "\n".join(lines)


def loss_table(curves: Mapping[int, Sequence[float]]) -> str:
    """Losses of trainings with different R side by side, and how far the last column is from the first."""
    lines = ["step  " + "  ".join(f"{f'R = {processes}':>14}" for processes in curves) + "   difference"]
    for i, values in enumerate(zip(*curves.values(), strict=True)):
        apart = abs(values[-1] - values[0]) / abs(values[0])
        lines.append(f"{i + 1:4d}  " + "  ".join(f"{value:14.8f}" for value in values) + f"   {apart:10.1e}")
    return "\n".join(lines)


def write_part_losses(path: Path, curves: Mapping[tuple[str, int], Mapping[int, Sequence[float]]]) -> None:
    """A CSV: config, points, step, and a column for each R; ``curves`` by config and points."""
    several = list(next(iter(curves.values())))
    rows = [
        [name, points, step, *values]
        for (name, points), of_case in curves.items()
        for step, values in enumerate(zip(*of_case.values(), strict=True), 1)
    ]
    write_csv(path, ["config", "points", "step", *(f"R={processes}" for processes in several)], rows)


def write_parts(
    folder: Path, rows: Sequence[PartRow], environment: Mapping[str, Any], tables: Sequence[str] = (), **more: Any
) -> None:
    """``parts.json`` (environment, rows, and ``more``), ``parts.csv`` (rows), ``parts.md`` (table, and ``tables``)."""
    found = [{key: value for key, value in asdict(row).items() if key != "kernels"} for row in rows]
    write_json(folder / "parts.json", {"environment": dict(environment), "rows": found, **more})
    columns = [each.name for each in fields(PartRow) if each.name not in OWN_FILE]
    write_csv(folder / "parts.csv", columns, [[row[name] for name in columns] for row in found])
    note = f"{environment['date'][:10]}: `{environment['command']}`"
    write_text(folder / "parts.md", "\n\n".join([part_table(rows, environment["device"]), *tables, note]) + "\n")
