"""The gates that weigh the branches, over the depth of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pointcept_bsa.analysis.visualization.attention_maps import BALL, COMPRESSION, SELECTION
from pointcept_bsa.analysis.visualization.capture import LayerCall
from pointcept_bsa.analysis.visualization.drawing import Drawing
from pointcept_bsa.analysis.visualization.subject import Subject, to_numpy
from pointcept_bsa.errors import InputError
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention

ORDER = (BALL, COMPRESSION, SELECTION)  # as the layers' gate has them
COLOURS = {BALL: "C3", COMPRESSION: "C0", SELECTION: "C1"}


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
    for i, branch in enumerate(ORDER):
        low, middle, high = (np.percentile(values[:, :, i], p, axis=(1, 2)) for p in (10, 50, 90))
        axes.fill_between(layers, low, high, color=COLOURS[branch], alpha=0.15, linewidth=0)
        axes.plot(layers, values[:, :, i].mean((1, 2)), "o-", color=COLOURS[branch], markersize=4, label=branch)
        axes.plot(layers, middle, ":", color=COLOURS[branch], linewidth=1)
    axes.set_xlabel("layer")
    axes.set_ylabel("gate")
    axes.set_ylim(0, 1)
    axes.set_xticks(layers if len(layers) <= 20 else layers[::2])
    axes.grid(color="0.9")
    axes.legend(title="branch: mean", fontsize=9)
    axes.set_title("mean (dots), median (dotted), 10th to 90th percentile over points and heads", fontsize=10)
    image: Any = None
    panels = []
    for i, branch in enumerate(ORDER):
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
    fields = {f"gate_{branch}": values[:, :, i].mean((0, 2)) for i, branch in enumerate(ORDER)}
    return Drawing(figure, fields)
