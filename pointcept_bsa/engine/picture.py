"""Pictures of a predicted field: truth, prediction and error side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.engine.canvas import Canvas
from pointcept_bsa.files.atomic import write_png

WIDTH = 15.0  # inches, of three panels with their colour bars
PANEL = 4.1  # inches, of one panel without


def draw_fields(
    path: Path,
    coord: np.ndarray,
    target: np.ndarray,
    pred: np.ndarray,
    names: Sequence[str],
    units: Sequence[str],
    title: str,
    up: str = "z",
    face: np.ndarray | None = None,
) -> None:
    """Write a PNG: one row a channel; truth and prediction on one colour scale (1st to 99th percentile of the truth).

    Args:
        coord: (N, 2 or 3) positions.
        target, pred: (N, K) in physical units.
        names, units: of the K channels.
        title: heading.
        up: the axis that points up, in 3-D.
        face: (F, 3 or 4) faces of a surface, to be painted instead of its points.
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    canvas = Canvas(coord, face, up)
    rows = target.shape[1]
    height = float(np.clip(PANEL * canvas.aspect, 1.1, 6.0)) + (0.5 if canvas.solid else 0.9)
    figure = Figure(figsize=(WIDTH, height * rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        low, high = np.percentile(target[:, k], (1, 99))
        error = pred[:, k] - target[:, k]
        bound = max(float(np.percentile(np.abs(error), 99)), 1e-30)
        label = f"{name} [{unit}]" if unit else name
        field, signed = Normalize(low, max(high, low + 1e-30)), Normalize(-bound, bound)
        columns = (
            ("truth", target[:, k], "viridis", field),
            ("prediction", pred[:, k], "viridis", field),
            ("prediction - truth", error, "RdBu_r", signed),
        )
        for i, (heading, values, colours, norm) in enumerate(columns):
            axes: Any = figure.add_subplot(rows, 3, 3 * k + i + 1)
            dots = canvas.paint(axes, values, norm, colours)
            axes.set_title(f"{name}, {heading}" if rows > 1 else heading)
            if not canvas.solid:
                axes.tick_params(labelsize=8)
            bar = figure.colorbar(dots, ax=axes, shrink=0.85, extend="both", pad=0.02)
            bar.set_label(label if i < 2 else f"error of {label}")
    write_png(path, figure, dpi=110)
