"""Attention at work: who sees whom in one layer, the gates that weigh the branches over the depth of the network, and
tokens of several levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.analysis.visualization.attention_maps import (
    BALL,
    COMPRESSION,
    FULL,
    SELECTION,
    block_map,
    coarse,
    point_weights,
    queries_and_keys,
)
from pointcept_bsa.analysis.visualization.capture import LayerCall, choose_layer
from pointcept_bsa.analysis.visualization.drawing import UNSEEN, Drawing, new_figure
from pointcept_bsa.analysis.visualization.subject import Subject, describe_point, to_numpy
from pointcept_bsa.analysis.visualization.trees import legend
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.token_tree import plan_tokens
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.token_levels import recall
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


GATES = (BALL, COMPRESSION, SELECTION)  # as the layers' gate has them
GATE_COLOURS = {BALL: "C3", COMPRESSION: "C0", SELECTION: "C1"}


@torch.no_grad()
def gate_values(call: LayerCall) -> np.ndarray:
    """sigmoid(W_gate h) at every point: (N, 3, H), in the order ball, compression, selection.

    Raises:
        InputError: a layer without gates.
    """
    module = call.module
    if not isinstance(module, BallSparseAttention | NativeSparseAttention) or call.layout is None:
        raise InputError(f"RUN: its layer {call.name} has no gates, wanted a network of BSA-v1m1 or ErwinNSA-v1m1")
    gate = module.gate(call.x + module.position(call.layout.relative)).sigmoid()
    return to_numpy(gate.unflatten(-1, (3, -1))[call.slot])


def draw_gates(subject: Subject, calls: list[LayerCall], name: str) -> Drawing:
    """Mean and spread of the gates of each branch over the layers, and the mean of every head."""
    from matplotlib.figure import Figure

    values = np.stack([gate_values(call) for call in calls])  # (layers, N, 3, H)
    layers = np.arange(1, len(calls) + 1)
    figure = Figure(figsize=(13, 4.3), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=[1.15, 1])
    axes: Any = figure.add_subplot(grid[:, 0])
    for i, branch in enumerate(GATES):
        low, middle, high = (np.percentile(values[:, :, i], p, axis=(1, 2)) for p in (10, 50, 90))
        axes.fill_between(layers, low, high, color=GATE_COLOURS[branch], alpha=0.15, linewidth=0)
        axes.plot(layers, values[:, :, i].mean((1, 2)), "o-", color=GATE_COLOURS[branch], markersize=4, label=branch)
        axes.plot(layers, middle, ":", color=GATE_COLOURS[branch], linewidth=1)
    axes.set_xlabel("layer")
    axes.set_ylabel("gate")
    axes.set_ylim(0, 1)
    axes.set_xticks(layers if len(layers) <= 20 else layers[::2])
    axes.grid(color="0.9")
    axes.legend(title="branch: mean", fontsize=9)
    axes.set_title("mean (dots), median (dotted), 10th to 90th percentile over points and heads", fontsize=10)
    image: Any = None
    panels = []
    for i, branch in enumerate(GATES):
        axes = figure.add_subplot(grid[i, 1])
        extent = (0.5, len(layers) + 0.5, values.shape[-1] + 0.5, 0.5)
        image = axes.imshow(values[:, :, i].mean(1).T, vmin=0, vmax=1, cmap="viridis", aspect="auto", extent=extent)
        axes.set_ylabel(f"{branch}\nhead", fontsize=9)
        axes.set_yticks([1, values.shape[-1]])
        axes.set_xticks(
            layers if len(layers) <= 20 else layers[::2],
            labels=None if i == 2 else [""] * len(layers if len(layers) <= 20 else layers[::2]),
        )
        panels.append(axes)
    panels[-1].set_xlabel("layer")
    panels[0].set_title("mean over the points, by head", fontsize=10)
    figure.colorbar(image, ax=panels, label="gate", pad=0.02)
    figure.suptitle(f"Gates of {name} on {subject.name}", fontsize=13)
    fields = {f"gate_{branch}": values[:, :, i].mean((0, 2)) for i, branch in enumerate(GATES)}
    return Drawing(figure, fields)


def levels_seen(call: LayerCall, point: int) -> Tensor:
    """(N,) the level of the token by which the compression branch shows each point to ``point``.

    Raises:
        InputError: a layer without levels of tokens.
    """
    module, layout = call.module, call.layout
    if not isinstance(module, BallSparseAttention) or module.levels is None or layout is None:
        raise InputError("levels: the network has no levels of tokens, wanted BSA-v1m1 with near=...")
    sizes = module.levels.sizes
    plan = plan_tokens(layout.slots, sizes)
    node = int(plan.node[int(call.slot[point]) // sizes.block])
    level = np.full(sum(layout.slots), -1)
    starts = np.cumsum([0, *plan.totals])
    for token in plan.seen[node][: plan.numbers[node]]:
        own = int(np.searchsorted(starts, token, side="right")) - 1
        size = sizes.token(own)
        first = int(token - starts[own]) * size
        level[first : first + size] = own
    return torch.tensor(level, device=call.slot.device)[call.slot]


@torch.no_grad()
def recall_of(call: LayerCall) -> float:
    """The share of the blocks that exact selection takes in this layer, on this cloud, which the descent finds."""
    module, layout = call.module, call.layout
    assert isinstance(module, BallSparseAttention) and layout is not None
    q_cmp, k_cmp, tokens = coarse(module, *queries_and_keys(call), layout)
    found, exact = (module.select(q_cmp, k_cmp, layout, each) for each in (tokens, None))
    return recall(found, exact)


def draw_token_levels(
    subject: Subject, canvas: Canvas, calls: Sequence[LayerCall], layer: int, name: str, point: int
) -> Drawing:
    """On the left the cloud by level of the tokens that one point sees; on the right the recall of each layer."""
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    call = choose_layer(list(calls), layer)
    level = levels_seen(call, point).cpu().numpy()
    found = [recall_of(each) for each in calls]
    module: Any = call.module
    colours = colormaps["viridis"](np.linspace(0.05, 0.95, level.max() + 1))
    figure = new_figure(2, 1, canvas, width=5.0, extra=0.95)
    axes: Any = figure.add_subplot(1, 2, 1)
    canvas.paint(axes, colours[level])
    canvas.mark(axes, point, "crimson")
    sizes = [module.levels.sizes.token(i) for i in range(level.max() + 1)]
    legend(axes, [(colours[i], f"tokens of {n}: {(level == i).sum()} points") for i, n in enumerate(sizes)])
    axes.set_title("level of the tokens", fontsize=12)
    axes = figure.add_subplot(1, 2, 2)
    bars = axes.bar(np.arange(len(found)) + 1, found, color="0.6")
    axes.bar_label(bars, [f"{share:.2f}" for share in found], fontsize=8)
    axes.set_ylim(0, 1.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer")
    axes.set_ylabel(f"share of the exact {module.topk} best blocks found")
    axes.set_title(f"selection by descent, beam {module.levels.beam}: {np.mean(found):.2f} in the mean", fontsize=12)
    figure.suptitle(f"Levels of tokens, {name}, {subject.name}, {describe_point(subject.coord, point)}", fontsize=13)
    return Drawing(figure, {"token_level": level})
