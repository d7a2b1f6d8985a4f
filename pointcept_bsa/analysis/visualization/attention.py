"""Attention of each branch, and the receptive field that it makes (Brita et al. 2025, figure 2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pointcept_bsa.analysis.visualization.attention_maps import (
    BALL,
    COMPRESSION,
    FULL,
    SELECTION,
    block_map,
    point_weights,
)
from pointcept_bsa.analysis.visualization.capture import LayerCall
from pointcept_bsa.analysis.visualization.drawing import UNSEEN, Drawing, new_figure
from pointcept_bsa.analysis.visualization.subject import Subject, describe_point, to_numpy
from pointcept_bsa.analysis.visualization.trees import legend
from pointcept_bsa.training.evaluation.canvas import Canvas

BALL_COLOUR, SELECTION_COLOUR = (0.80, 0.16, 0.15, 1.0), (0.96, 0.60, 0.10, 1.0)
FAINT, STRONG = np.array([0.78, 0.88, 0.96, 1.0]), np.array([0.05, 0.28, 0.60, 1.0])
DECADES = 3  # of attention shown below the largest


def heading(call: LayerCall, layer: int, depth: int) -> str:
    """ "layer 3 of 18, on the rotated tree"."""
    number = layer % depth
    return f"layer {number + 1} of {depth}" + (", on the rotated tree" if call.rotated else "")


def draw_attention(subject: Subject, canvas: Canvas, call: LayerCall, title: str, point: int) -> Drawing:
    """Above, the attention of one point painted on the cloud; below, of all to all in tree order; a column a branch."""
    weights = {branch: to_numpy(weight) for branch, weight in point_weights(call, point).items()}
    maps = {branch: to_numpy(weight) for branch, weight in block_map(call).items()}
    columns = len(weights)
    figure = new_figure(columns, 1, canvas, width=5.0)
    width, above = figure.get_size_inches()
    figure.set_size_inches(width, above + 4.6)
    grid = figure.add_gridspec(2, columns, height_ratios=[above - 0.6, 4.6])
    for i, (branch, weight) in enumerate(weights.items()):
        axes: Any = figure.add_subplot(grid[0, i])
        norm = _norm_of_positive(weight, 100)
        canvas.paint(axes, _over_grey(weight, norm, "viridis"))
        canvas.mark(axes, point, "crimson")
        seen = int((weight > 0).sum())
        share = seen / len(weight)
        axes.set_title(f"{branch}: {seen} of {len(weight)} points ({share:.1%})", fontsize=11)
        bar = figure.colorbar(_mappable(norm, "viridis"), ax=axes, shrink=0.85, pad=0.02)
        bar.set_label("attention weight (heads averaged)")
        axes = figure.add_subplot(grid[1, i])
        image = maps[branch]
        shown = np.where(image > 0, image, np.nan)
        picture = axes.imshow(shown, cmap="viridis", norm=_norm_of_positive(image, 99.5), interpolation="nearest")
        unit = call.x.shape[0] / len(image)
        axes.set_xlabel("key: number of the stretch, in tree order")
        axes.set_ylabel("query: number of the stretch")
        axes.set_title(f"who attends to whom, by stretches of {unit:.0f} slots", fontsize=10)
        bar = figure.colorbar(picture, ax=axes, shrink=0.85, pad=0.02)
        bar.set_label("mean attention of a stretch")
    figure.suptitle(f"{title}, {subject.name}\n{describe_point(subject.coord, point)}", fontsize=13)
    return Drawing(figure, {f"attention_{branch}": weight for branch, weight in weights.items()})


def draw_receptive_field(subject: Subject, canvas: Canvas, call: LayerCall, title: str, point: int) -> Drawing:
    """What one point sees in one layer: a panel for each branch that comes on top (Brita et al. 2025, figure 2)."""
    weights = {branch: to_numpy(weight) for branch, weight in point_weights(call, point).items()}
    order = [branch for branch in (BALL, SELECTION, COMPRESSION, FULL) if branch in weights]
    figure = new_figure(len(order), 1, canvas, width=5.0, extra=0.95)
    fields: dict[str, np.ndarray] = {}
    seen = np.zeros(len(subject.coord), dtype=bool)
    for i in range(len(order)):
        shown = order[: i + 1]
        seen = seen | (weights[order[i]] > 0)
        axes: Any = figure.add_subplot(1, len(order), i + 1)
        canvas.paint(axes, receptive_colours(weights, shown))
        canvas.mark(axes, point)
        axes.set_title(" + ".join(shown), fontsize=12)
        legend(axes, _entries(weights, shown, seen))
        fields["receptive_field_" + "_".join(shown)] = seen.astype(np.int64)
    figure.suptitle(f"Receptive field in {title}, {subject.name}, {describe_point(subject.coord, point)}", fontsize=13)
    code = np.zeros(len(subject.coord), dtype=np.int64)  # 1 ball, 2 selection, 3 compression (or full) alone
    for number, branch in ((3, COMPRESSION), (3, FULL), (2, SELECTION), (1, BALL)):
        if branch in weights:
            code[weights[branch] > 0] = number
    return Drawing(figure, {**fields, "branch": code, **{f"attention_{b}": w for b, w in weights.items()}})


def receptive_colours(weights: dict[str, np.ndarray], shown: list[str]) -> np.ndarray:
    """(N, 4): grey unseen, red by the ball, orange by selection, blue by compression (darker with more attention)."""
    colours = np.tile(UNSEEN, (len(next(iter(weights.values()))), 1))
    for branch in (COMPRESSION, FULL):
        if branch in shown:
            mask = weights[branch] > 0
            level = np.log(weights[branch][mask])
            low, high = np.percentile(level, (2, 98)) if len(level) else (0.0, 1.0)
            strength = ((level - low) / max(high - low, 1e-12)).clip(0, 1)[:, None]
            colours[mask] = FAINT + strength * (STRONG - FAINT)
    for branch, colour in ((SELECTION, SELECTION_COLOUR), (BALL, BALL_COLOUR)):
        if branch in shown:
            colours[weights[branch] > 0] = colour
    return colours


def _entries(weights: dict[str, np.ndarray], shown: list[str], seen: np.ndarray) -> list[tuple[Any, str]]:
    colours = {BALL: BALL_COLOUR, SELECTION: SELECTION_COLOUR, COMPRESSION: STRONG, FULL: STRONG}
    entries = []
    for branch in shown:
        darker = " (darker: more attention)" if branch in (COMPRESSION, FULL) else ""
        entries.append((colours[branch], f"{branch}: {int((weights[branch] > 0).sum())} points{darker}"))
    if not seen.all():
        entries.append((UNSEEN, f"not seen: {int((~seen).sum())} of {len(seen)} points"))
    return entries


def _over_grey(weight: np.ndarray, norm: Any, cmap: str) -> np.ndarray:
    """Colours of positive weights; grey where there is none."""
    colours = np.array(_mappable(norm, cmap).to_rgba(np.where(weight > 0, weight, norm.vmin)))
    colours[weight <= 0] = UNSEEN
    return colours


def _norm_of_positive(values: np.ndarray, percentile: float) -> Any:
    """From the smallest positive value, at most three decades below the top; logarithmic if that is a wide range."""
    from matplotlib.colors import LogNorm, Normalize

    positive = values[values > 0]
    if not len(positive):
        return Normalize(0, 1)
    top = float(np.percentile(positive, percentile))
    low = max(float(positive.min()), top / 10**DECADES)
    return LogNorm(low, top, clip=True) if top > 5 * low else Normalize(low, max(top, low * 1.001), clip=True)


def _mappable(norm: Any, cmap: str) -> Any:
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(norm=norm, cmap=cmap)
