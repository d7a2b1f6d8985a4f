"""Pictures of a predicted field: truth, prediction and error side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def draw_fields(
    path: Path,
    coord: np.ndarray,
    target: np.ndarray,
    pred: np.ndarray,
    names: Sequence[str],
    units: Sequence[str],
    title: str,
    up: str = "z",
) -> None:
    """Write a PNG: one row a channel; truth and prediction on one colour scale (1st to 99th percentile of the truth).

    Args:
        coord: (N, 2 or 3) positions.
        target, pred: (N, K) in physical units.
        names, units: of the K channels.
        title: heading.
        up: the axis that points up, in 3-D.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    solid = coord.shape[1] == 3
    extent = np.ptp(coord, axis=0)
    height = 4.2 if solid else float(np.clip(4.2 * extent[1] / max(extent[0], 1e-9), 1, 8)) + 0.6
    figure = Figure(figsize=(15, height * target.shape[1] + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        low, high = np.percentile(target[:, k], (1, 99))
        error = pred[:, k] - target[:, k]
        bound = max(float(np.percentile(np.abs(error), 99)), 1e-30)
        label = f"{name} [{unit}]" if unit else name
        columns = (
            (f"{label}, truth", target[:, k], "viridis", low, high),
            (f"{label}, prediction", pred[:, k], "viridis", low, high),
            (f"{label}, prediction - truth", error, "RdBu_r", -bound, bound),
        )
        for i, (heading, values, colours, vmin, vmax) in enumerate(columns):
            axes: Any = figure.add_subplot(target.shape[1], 3, 3 * k + i + 1, projection="3d" if solid else None)
            look = {"cmap": colours, "vmin": vmin, "vmax": vmax, "linewidths": 0}
            if solid:
                size = float(np.clip(6e4 / len(coord), 1, 40))
                dots = axes.scatter(*coord.T, c=values, s=size, depthshade=False, **look)
                axes.set_box_aspect(extent[_turned(up)] + 1e-9, zoom=1.25)
                axes.view_init(elev=20, azim=-50, vertical_axis=up)
                axes.set_axis_off()
            else:
                dots = axes.scatter(*coord.T, c=values, s=float(np.clip(3e4 / len(coord), 0.5, 20)), **look)
                axes.set_aspect("equal")
            axes.set_title(heading)
            figure.colorbar(dots, ax=axes, shrink=0.7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _turned(up: str) -> list[int]:
    """Matplotlib takes the box's sides in the order in which the axes stand when ``up`` is vertical."""
    return {"x": [1, 2, 0], "y": [2, 0, 1], "z": [0, 1, 2]}[up]
