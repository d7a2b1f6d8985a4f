"""How much each input point moves one output (Lapautre et al. 2025, figure 3).

``N`` points, ``C`` input features, ``K`` target channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pointcept_bsa.analysis.visualization.drawing import Drawing, new_figure
from pointcept_bsa.analysis.visualization.subject import Subject, describe_point, to_numpy
from pointcept_bsa.training.evaluation.canvas import Canvas

BINS = 24
COLOURED = 99.5  # percentile of the influences at which colours end
LABEL = r"$\|\partial\,\mathrm{out}_i\,/\,\partial\,\mathrm{feat}_j\|$"


def gradient_influence(model: nn.Module, batch: Mapping[str, Any], point: int) -> np.ndarray:
    """(N,) Frobenius norm of d out_i / d feat_j for the output i = ``point`` and every input point j.

    ``out`` is the prediction in standard deviations of the target (as the network makes it), ``feat`` (N, C) what the
    network gets. Positions decide which points meet; there is no gradient with respect to that.
    """
    feat = batch["feat"].detach().clone().requires_grad_(True)
    out = model.eval()({**batch, "feat": feat})["pred"]
    normalizer = getattr(model, "normalizer", None)
    if normalizer is not None:
        out = out / normalizer.std
    squares = torch.zeros(len(feat), device=feat.device)
    for k in range(out.shape[1]):
        (gradient,) = torch.autograd.grad(out[point, k], feat, retain_graph=k + 1 < out.shape[1])
        squares += gradient.square().sum(1)
    return to_numpy(squares.sqrt())


def draw_influence(
    subject: Subject, canvas: Canvas, influences: Sequence[tuple[str, np.ndarray]], point: int
) -> Drawing:
    """Above, the influence on one output painted on the cloud, a model a column; below, its distribution."""
    from matplotlib.colors import LogNorm

    top = max(float(influence.max()) for _, influence in influences)
    positive = np.concatenate([influence[influence > 0] for _, influence in influences])
    low = max(float(np.percentile(positive, 2)), top * 1e-8)
    norm = LogNorm(low, brightest(positive, low, top), clip=True)
    columns = max(2, len(influences))
    figure = new_figure(columns, 1, canvas, width=5.6)
    width, above = figure.get_size_inches()
    figure.set_size_inches(width, above + 4.0)
    grid = figure.add_gridspec(2, 2 * columns, height_ratios=[above - 0.6, 4.0])
    start = columns - len(influences)
    for i, (name, influence) in enumerate(influences):
        axes: Any = figure.add_subplot(grid[0, start + 2 * i : start + 2 * i + 2])
        mappable = canvas.paint(axes, np.where(influence > 0, influence, low), norm, "inferno")
        canvas.mark(axes, point, "deepskyblue")
        axes.set_title(f"{name}: {int((influence > 0).sum())} of {len(influence)} points influence it", fontsize=11)
        bar = figure.colorbar(mappable, ax=axes, shrink=0.85, pad=0.02, extend="both")
        bar.set_label(LABEL)
    distance = np.linalg.norm(subject.coord - subject.coord[point], axis=1)
    _draw_over_distance(figure.add_subplot(grid[1, :columns]), distance, influences)
    _draw_histogram(figure.add_subplot(grid[1, columns:]), influences, low, top)
    figure.suptitle(
        f"Influence of every input point on the prediction at one, {subject.name}, "
        f"{describe_point(subject.coord, point)}",
        fontsize=13,
    )
    fields = {f"influence_{i}_{_plain(name)}": influence for i, (name, influence) in enumerate(influences)}
    return Drawing(figure, {**fields, "distance": distance})


def brightest(positive: np.ndarray, low: float, top: float) -> float:
    """Where colours end: the point itself, and few others, are far above the rest."""
    bright = float(np.percentile(positive, COLOURED))
    return bright if bright > low else top


def _draw_over_distance(axes: Any, distance: np.ndarray, influences: Sequence[tuple[str, np.ndarray]]) -> None:
    """Median and 10th to 90th percentile of the influence, in bins of distance that hold equally many points."""
    edges = np.quantile(distance, np.linspace(0, 1, BINS + 1))
    bin_of = np.searchsorted(edges[1:-1], distance, side="right")
    bins = np.unique(bin_of)
    middle = [float(np.median(distance[bin_of == b])) for b in bins]
    for i, (name, influence) in enumerate(influences):
        parts = [influence[bin_of == b] for b in bins]
        low, median, high = (np.array([np.percentile(part, p) for part in parts]) for p in (10, 50, 90))
        axes.plot(middle, median, "o-", markersize=3, color=f"C{i}", label=name)
        axes.fill_between(middle, low, high, color=f"C{i}", alpha=0.2, linewidth=0)
    axes.set_yscale("log")
    axes.set_xlabel("distance between input and output point [units of the positions]")
    axes.set_ylabel(f"{LABEL}\nmedian, 10th to 90th percentile")
    axes.grid(color="0.9")
    axes.legend(fontsize=9)


def _draw_histogram(axes: Any, influences: Sequence[tuple[str, np.ndarray]], low: float, high: float) -> None:
    """Share of the points by their influence; the median of each model as a line."""
    edges = np.geomspace(low, high, 50)
    for i, (name, influence) in enumerate(influences):
        share = np.histogram(influence.clip(low, high), edges)[0] / len(influence)
        axes.stairs(share * 100, edges, fill=True, alpha=0.35, color=f"C{i}")
        axes.stairs(share * 100, edges, color=f"C{i}", label=f"{name}, median {np.median(influence):.2g}")
        axes.axvline(max(float(np.median(influence)), low), color=f"C{i}", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel(LABEL)
    axes.set_ylabel("points [%]")
    axes.grid(color="0.9")
    axes.legend(fontsize=9)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
