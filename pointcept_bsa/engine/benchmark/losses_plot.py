"""Pictures of trainings with kernels and in plain torch: losses, and how fast they part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.engine.benchmark.case import INPUT_SETS
from pointcept_bsa.engine.benchmark.losses import EARLY_STEPS, ROUNDED, LossCurves, passes, spread
from pointcept_bsa.engine.benchmark.variants import AUTO, REFERENCE
from pointcept_bsa.files.atomic import write_png

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
