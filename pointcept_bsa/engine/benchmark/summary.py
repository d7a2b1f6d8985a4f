"""What each config is worth at its best: the fastest of its modes against the fastest of the baseline's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pointcept_bsa.engine.benchmark.report import Row, aligned, number
from pointcept_bsa.engine.benchmark.variants import REFERENCE


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
