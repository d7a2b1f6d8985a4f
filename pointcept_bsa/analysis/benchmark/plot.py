"""Time over the number of points, both on logarithmic axes (Brita et al. 2025, figures 3 and 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.analysis.benchmark.case import INPUT_SETS, NOT_ASKED
from pointcept_bsa.analysis.benchmark.losses import EARLY_STEPS, ROUNDED, LossCurves, passes, spread
from pointcept_bsa.analysis.benchmark.report import Row
from pointcept_bsa.analysis.benchmark.variants import AUTO, REFERENCE
from pointcept_bsa.arguments.words import MODES
from pointcept_bsa.files.atomic import write_png

MARKERS = "osD^vP*hX<>"


def draw_times(path: Path, rows: Sequence[Row], baseline: str | None, title: str) -> None:
    """Write a PNG: forward and (if measured) train time, one line a config, bars as long as the interquartile range.

    The baseline is black and dashed. Crosses at the top are cases that ran out of memory or took too long. The
    grey lines show proportionality to N and to N squared.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels = [("forward", "Forward pass")]
    if any(row.train != NOT_ASKED for row in rows):
        panels.append(("train", "Train step (forward, loss, backward, optimizer)"))
    figure = Figure(figsize=(0.6 + 5.6 * len(panels), 4.9), layout="constrained")
    for i, (part, heading) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        _draw_panel(axes, rows, part, baseline)
        axes.set_title(heading, fontsize=11)
    batch = f", {rows[0].batch_size} clouds a batch" if rows and rows[0].batch_size > 1 else ""
    figure.suptitle(f"{title}{batch}", fontsize=12)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if any(getattr(row, f"{part}_ms") is None for row in rows for part, _ in panels):
        handles.append(Line2D([], [], linestyle="none", marker="x", markeredgewidth=2, color="grey"))
        labels.append("no time: out of memory, too slow or not possible")
    widest = 0.6 + 0.075 * max(map(len, labels), default=0)  # inches of an entry
    columns = max(1, min(len(labels), 2 * len(panels), int(figure.get_figwidth() / widest)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    write_png(path, figure, dpi=150)


def _draw_panel(axes: Any, rows: Sequence[Row], part: str, baseline: str | None) -> None:
    sizes = sorted({row.points for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    names = list(dict.fromkeys(line_name(row) for row in rows))
    colours = iter(f"C{i}" for i in range(len(names)))
    used: dict[str, str] = {}
    for i, name in enumerate(names):
        own = [row for row in rows if line_name(row) == name]
        done = [row for row in own if getattr(row, f"{part}_ms") is not None]
        style = {"color": "black", "linestyle": "--"} if name == baseline else {"color": next(colours)}
        axes.errorbar(
            [row.points for row in done],
            [getattr(row, f"{part}_ms") for row in done],
            yerr=[min((getattr(row, f"{part}_iqr_ms") or 0.0) / 2, 0.9 * getattr(row, f"{part}_ms")) for row in done],
            marker=MARKERS[i % len(MARKERS)],
            markersize=5,
            linewidth=1.6,
            capsize=2,
            label=f"{name} (baseline)" if name == baseline else name,
            zorder=3,
            **style,
        )
        used[name] = style["color"]
    _draw_slopes(axes, rows, part, sizes)
    _draw_failures(axes, rows, part, used)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30 if len(sizes) > 7 else 0)
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set_xlabel("points in a cloud, N")
    axes.set_ylabel("time [ms]")
    axes.grid(which="major", color="0.85", linewidth=0.8)
    axes.grid(which="minor", axis="y", color="0.93", linewidth=0.5)


def line_name(row: Row) -> str:
    """A line a config, mode and path of the operators."""
    extra = [row.mode] * (row.mode != MODES[0]) + ["plain torch"] * (row.ops == REFERENCE)
    return f"{row.name} ({', '.join(extra)})" if extra else row.name


def _draw_slopes(axes: Any, rows: Sequence[Row], part: str, sizes: Sequence[int]) -> None:
    """Grey guides over the last factor of 4 in N, from one point, below the curves."""
    times = [getattr(row, f"{part}_ms") for row in rows if row.points == sizes[-1]]
    times = [time for time in times if time is not None]
    if len(sizes) < 2 or not times:
        return
    ends = [max(sizes[0], sizes[-1] / 4), sizes[-1]]
    growth = ends[1] / ends[0]
    start = min(times) / growth**2 / 1.5
    for power, label in ((1, "N"), (2, "N²")):
        end = start * growth**power
        axes.plot(ends, [start, end], color="0.6", linewidth=1, linestyle=":", zorder=1)
        axes.annotate(f"∝ {label}", (ends[1], end), (4, 0), textcoords="offset points", color="0.5", va="center")
    axes.margins(x=0.1)


def _draw_failures(axes: Any, rows: Sequence[Row], part: str, colours: Mapping[str, str]) -> None:
    """Crosses of cases without a time, in room made above the curves, under one another where they share a size."""
    failed = [row for row in rows if getattr(row, f"{part}_ms") is None]
    if not failed:
        return
    step = 0.05
    depth = {row.points: 0 for row in failed}
    for row in failed:
        height = 1 - 0.7 * step - step * depth[row.points]
        depth[row.points] += 1
        where = axes.get_xaxis_transform()
        cross = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "color": colours[line_name(row)]}
        axes.plot([row.points], [height], transform=where, linestyle="none", zorder=4, **cross)
    low, high = axes.get_ylim()
    axes.set_ylim(low, low * (high / low) ** (1 / (1 - step * (max(depth.values()) + 0.2))))


# Pictures of trainings with kernels and in plain torch: losses, and how fast they part.

FIRST_STEPS = 100  # whose differences are drawn
COLOURS = {REFERENCE: "0.15", ROUNDED: "0.6", AUTO: "C1"}  # in the order of drawing
LABELS = {REFERENCE: "plain torch", ROUNDED: "plain torch, start rounded", AUTO: "kernels"}


def draw_losses(path: Path, curves: Sequence[LossCurves], title: str) -> None:
    """Write a PNG, a row a config and size: mean losses of the passes, and relative differences of the first steps.

    Thin lines are single seeds, thick ones their mean.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 0.6 + 4.2 * len(curves)), layout="constrained")
    for i, each in enumerate(curves):
        _draw_curves(figure.add_subplot(len(curves), 2, 2 * i + 1), each)
        _draw_differences(figure.add_subplot(len(curves), 2, 2 * i + 2), each)
    figure.suptitle(f"{title}; thin: single seeds, thick: their mean", fontsize=11)
    write_png(path, figure, dpi=150)


def _draw_curves(axes: Any, each: LossCurves) -> None:
    means = {path: torch.tensor([passes(curve) for curve in each.losses[path]]) for path in COLOURS}
    number = means[AUTO].shape[1]
    steps = [INPUT_SETS * (i + 1) for i in range(number)]
    for path, found in means.items():
        label = f"{LABELS[path]}, evaluated {spread(each.final[path])}"
        _draw_lines(axes, steps, found, path, label, dashed=path == AUTO)
    if all((found > 0).all() for found in means.values()):  # a likelihood may be negative
        axes.set_yscale("log")
    axes.set_title(f"{each.name}, {each.points:,} points", fontsize=10)
    axes.set_xlabel(f"step (mean of each pass over {INPUT_SETS} batches)")
    axes.set_ylabel("training loss")
    axes.grid(color="0.9")
    axes.legend(frameon=False, fontsize=9)


def _draw_differences(axes: Any, each: LossCurves) -> None:
    drawn = False
    for path in (ROUNDED, AUTO):
        found = each.differences(path)[:, :FIRST_STEPS]
        label = f"{LABELS[path]}: at most {each.early(path):.1e} in {min(EARLY_STEPS, found.shape[1])} steps"
        drawn |= bool((found > 0).any())
        _draw_lines(axes, range(1, found.shape[1] + 1), found, path, label)
    if drawn:
        axes.set_yscale("log", nonpositive="mask")
    axes.set_title("to plain torch from the same weights, |a - b| / b of the losses", fontsize=10)
    axes.set_xlabel("step")
    axes.set_ylabel("relative difference")
    axes.grid(color="0.9")
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _draw_lines(
    axes: Any, steps: Sequence[int], values: torch.Tensor, path: str, label: str, dashed: bool = False
) -> None:
    """A thin line a row and the mean over rows as a thick one; of the yardstick, which is one row, a thin one alone."""
    style = {"color": COLOURS[path], "linestyle": "--" if dashed else "-"}
    if path == ROUNDED:
        axes.plot(steps, values[0], linewidth=1.0, label=label, **style)
        return
    if len(values) > 1:
        for row in values:
            axes.plot(steps, row, linewidth=0.7, alpha=0.7, **style)
    axes.plot(steps, values.mean(0), linewidth=2.2, label=label, **style)
