"""Tokens of several levels at work: which of them one point sees, and whether the descent finds the best blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.analysis.visualization.attention_maps import coarse, queries_and_keys
from pointcept_bsa.analysis.visualization.capture import LayerCall, choose_layer
from pointcept_bsa.analysis.visualization.drawing import Drawing, new_figure
from pointcept_bsa.analysis.visualization.subject import Subject, describe_point
from pointcept_bsa.analysis.visualization.trees import legend
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.token_tree import plan_tokens
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.token_levels import recall
from pointcept_bsa.training.evaluation.canvas import Canvas


def levels_seen(call: LayerCall, point: int) -> Tensor:
    """(N,) the level of the token by which the compression branch shows each point to ``point``.

    Raises:
        InputError: a layer without levels of tokens.
    """
    module, layout = call.module, call.layout
    if not isinstance(module, BallSparseAttention) or module.levels is None or layout is None:
        raise InputError("levels: the network has no levels of tokens, wanted BSA-v1m1 with near=...")
    made = module.levels
    plan = plan_tokens(layout.slots, made.block_size, made.near, made.fan)
    node = int(call.slot[point]) // made.near
    level = np.full(sum(layout.slots), -1)
    starts = np.cumsum([0, *plan.totals])
    for token in plan.seen[node][: plan.numbers[node]]:
        own = int(np.searchsorted(starts, token, side="right")) - 1
        size = made.block_size * made.fan**own
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
    sizes = [module.block_size * module.levels.fan**i for i in range(level.max() + 1)]
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
