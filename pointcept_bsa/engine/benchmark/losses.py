"""Losses of the same training with kernels and in plain torch, side by side."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from pointcept_bsa.engine.benchmark.case import OptimizerBuilder, Plan, autocast, build_case, make_step, precision
from pointcept_bsa.engine.benchmark.report import replacing
from pointcept_bsa.engine.benchmark.variants import AUTO, REFERENCE, operators

PATHS = (AUTO, REFERENCE)
EARLY, LATE = 20, 50  # steps compared at the start and at the end


@dataclass
class LossCurves:
    """Losses a step of one config at one size, by path of the operators; ``final`` is the evaluation afterwards."""

    name: str
    points: int
    losses: dict[str, list[float]]
    final: dict[str, float]

    def summary(self) -> str:
        """How far the two runs are apart, in one line."""
        ours, truth = (self.losses[path] for path in PATHS)
        early = max(abs(a - b) / abs(b) for a, b in zip(ours[:EARLY], truth[:EARLY], strict=True))
        ends = [fmean(curve[-LATE:]) for curve in (ours, truth)]
        return (
            f"{self.name} N={self.points:,}: largest relative difference in the first {min(EARLY, len(ours))} steps "
            f"{early:.1e}, mean loss of the last {min(LATE, len(ours))} steps {ends[0]:.5g} ({AUTO}) and {ends[1]:.5g} "
            f"({REFERENCE}), evaluated after training {self.final[AUTO]:.5g} and {self.final[REFERENCE]:.5g}"
        )


def train_both(
    name: str, cfg: Mapping[str, Any], points: int, steps: int, plan: Plan, build_optimizer: OptimizerBuilder
) -> LossCurves:
    """Train ``steps`` steps eagerly on the same batches from the same weights, once with each path of the operators."""
    losses: dict[str, list[float]] = {}
    final = {}
    for path in PATHS:
        with precision(plan), operators(path):
            torch.manual_seed(0)
            model, batches = build_case(cfg, points, replace(plan, mode="eager", ops=path, erwin_checkout=None))
            optimizer = build_optimizer(cfg["optimizer"], model, cfg.get("param_dicts"))
            step = make_step(model.train(), optimizer, plan)
            torch.manual_seed(1)
            seen = [step(batches[i % len(batches)]) for i in range(steps)]
            losses[path] = torch.stack(seen).float().tolist()
            with torch.no_grad(), autocast(plan):
                final[path] = fmean(float(model.eval()(dict(batch))["loss"]) for batch in batches)
    return LossCurves(name, points, losses, final)


def write_losses(folder: Path, curves: Sequence[LossCurves], title: str) -> None:
    """``losses.csv`` (config, N, step, a column a path) and ``losses.png``."""
    with replacing(folder / "losses.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["config", "points", "step", *PATHS])
        for each in curves:
            for i, values in enumerate(zip(*(each.losses[path] for path in PATHS), strict=True)):
                writer.writerow([each.name, each.points, i + 1, *values])
    _draw(folder / "losses.png", curves, title)


def _draw(path: Path, curves: Sequence[LossCurves], title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(5.2 * columns, 0.5 + 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for i, each in enumerate(curves):
        axes = figure.add_subplot(rows, columns, i + 1)
        steps = range(1, len(each.losses[AUTO]) + 1)
        axes.plot(steps, each.losses[REFERENCE], color="0.2", linewidth=2.2, label="plain torch")
        axes.plot(steps, each.losses[AUTO], color="C1", linewidth=1.0, linestyle="--", label="kernels")
        axes.set_yscale("log")
        axes.set_title(f"{each.name}, {each.points:,} points", fontsize=10)
        axes.set_xlabel("step")
        axes.set_ylabel("training loss")
        axes.grid(color="0.9")
        axes.legend(frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
