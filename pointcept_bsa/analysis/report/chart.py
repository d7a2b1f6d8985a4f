"""The charts of a comparison: training, validation, and the errors of single samples.

Inline SVG, drawn by matplotlib in the page's colours (``--c0``) and fonts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import Any

from pointcept_bsa.analysis.comparison.comparison import Comparison
from pointcept_bsa.analysis.comparison.group import Group
from pointcept_bsa.training.runs.finished import Run

COLOURS = 8
MOST_POINTS = 600  # of a line; longer ones are averaged over neighbours
LOG_RATIO = 8.0  # a y axis with positive values that span more than this is logarithmic
SMALLEST, LARGEST = 1e-100, 1e100  # of what is drawn, beside zero: an axis computes in float64
# Colours that stand for the page's own, which differ by day and night.
SOFT, GRID, LINE = "#0c0d0e", "#0c0d0f", "#0c0d0{}"
PAGE = {SOFT: "var(--soft)", GRID: "var(--line)"} | {LINE.format(i): f"var(--c{i})" for i in range(COLOURS)}


@dataclass(frozen=True)
class Line:
    """Points (x, y), in rising x; ``faint`` for one seed of several, ``steps`` for a share that jumps at each point."""

    points: Sequence[tuple[float, float]]
    colour: int
    faint: bool = False
    steps: bool = False


def chart(title: str, lines: Sequence[Line], x_label: str, y_label: str, log_x: bool = False) -> str | None:
    """An ``svg`` element; None where no line has a point that can be drawn."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kept = [(line, _drawable(line.points, log_x)) for line in lines]
    kept = [(line, thinned(points)) for line, points in kept if points]
    if not kept:
        return None
    ys = [y for _, points in kept for _, y in points]
    log_y = not any(line.steps for line, _ in kept) and min(ys) > 0 and max(ys) / min(ys) > LOG_RATIO
    figure = Figure(figsize=(7.2, 4.1), layout="constrained")
    axes = figure.add_subplot()
    for line, points in sorted(kept, key=lambda item: not item[0].faint):
        axes.plot(
            *zip(*points, strict=True),
            color=LINE.format(line.colour % COLOURS),
            linewidth=1 if line.faint else 1.8,
            alpha=0.45 if line.faint else 1,
            drawstyle="steps-post" if line.steps else "default",
            marker="o" if len(points) == 1 else "",
            markersize=4,
        )
    axes.margins(x=0, y=0.04)
    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    for axis in (axes.xaxis, axes.yaxis):
        _label(axis)
    axes.grid(color=GRID)
    axes.tick_params(length=0, labelcolor=SOFT)
    axes.set_xlabel(x_label, color=SOFT, parse_math=False)
    axes.set_ylabel(y_label + (" (log)" if log_y else ""), color=SOFT, parse_math=False)
    axes.set_frame_on(False)
    out = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):  # texts as texts; the same names every time
        figure.savefig(out, format="svg", transparent=True)
    return _inline(out.getvalue(), title)


def _drawable(points: Sequence[tuple[float, float]], log_x: bool) -> list[tuple[float, float]]:
    """Those that have a place: NaN and what is beyond ``LARGEST`` has none, zero has none on a logarithmic axis."""
    found = [(x, y) for x, y in points if abs(x) <= LARGEST and abs(y) <= LARGEST]
    return [(x, y if abs(y) > SMALLEST else 0.0) for x, y in found if x > SMALLEST or not log_x]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``MOST_POINTS`` points, each the mean of as many neighbours."""
    step = -(-len(points) // MOST_POINTS)
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _label(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1,) if high > 1e3 * low else (1, 2, 5), numticks=9))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))


def tick_text(value: float) -> str:
    """Short: 0.05, 20,000, 1e-05."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def _inline(svg: str, title: str) -> str:
    """The element alone, as large as there is room, in the page's colours and fonts."""
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    body = body[body.index(">", body.index("<svg")) + 1 :]
    body = re.sub(r"font-family: [^;\"]*;?|font: [^;\"]*;?| id=\"[\w.]+_\d+\"", "", body)  # clip paths keep theirs
    for colour, name in PAGE.items():
        body = body.replace(colour, name)
    return f'<svg {box[0]} role="img" aria-label="{escape(title)}">{body}'


Points = list[tuple[float, float]]
MOST_METRICS = 3


def charts(comparison: Comparison) -> list[tuple[str, str | None]]:
    """(Heading, chart) of the training loss, validation metrics, learning rate, and the distribution of the first
    metric over the test samples."""
    groups = comparison.groups
    names = list(dict.fromkeys(name for group in groups for run in group.runs for name in run.validation_curve()))
    names = [name for name in comparison.metrics if name in names] or names
    found = [("Training loss", lines(groups, lambda run: run.training_curve("loss")), "iteration", "loss", False)]
    for name in names[:MOST_METRICS]:
        of = lines(groups, _validation(name))
        found.append((f"Validation, {name}, physical units", of, "iteration", name, False))
    rates = lines(groups, lambda run: run.training_curve("lr"))
    found.append(("Learning rate", rates, "iteration", "learning rate", False))
    metric = comparison.metrics[0]
    shares = [Line(share_below(run, metric), i, steps=True) for i, group in enumerate(groups) for run in group.runs]
    title = f"Test samples with {metric} below a value, physical units"
    found.append((title, shares, metric, "share of samples", True))
    return [(each[0], chart(*each)) for each in found]


def _validation(name: str) -> Callable[[Run], Sequence[tuple[float, float]]]:
    return lambda run: run.validation_curve().get(name, [])


def lines(groups: Sequence[Group], of: Callable[[Run], Sequence[tuple[float, float]]]) -> list[Line]:
    """A line a config: the mean over its seeds, with the seeds faintly behind it where there are several."""
    found = []
    for colour, group in enumerate(groups):
        each: list[Points] = [list(of(run)) for run in group.runs]
        each = [points for points in each if points]
        mean = mean_line(each)
        found += [Line(points, colour, faint=mean is not None) for points in each] if len(each) > 1 else []
        if mean is not None:
            found.append(Line(mean, colour))
    return found


def mean_line(each: Sequence[Points]) -> Points | None:
    """The mean over curves at the x values they all have; None where that is fewer than half of the shortest one's."""
    if not each:
        return None
    tables = [dict(points) for points in each]
    common = sorted(set.intersection(*(set(table) for table in tables)))
    if 2 * len(common) < min(map(len, tables)):
        return None
    return [(x, sum(table[x] for table in tables) / len(tables)) for x in common]


def share_below(run: Run, metric: str) -> Points:
    """The cumulative distribution of the metric over the test samples of a run, in physical units."""
    values = sorted(s[metric] for s in run.report.get("samples", []) if isinstance(s.get(metric), int | float))
    values = [value for value in values if math.isfinite(value)]
    return [(value, (i + 1) / len(values)) for i, value in enumerate(values)]
