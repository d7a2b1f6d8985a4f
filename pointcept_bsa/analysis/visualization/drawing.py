"""What every picture here shares: a figure, fields on the points, and how they are saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.analysis.visualization.subject import Subject
from pointcept_bsa.arguments.words import PICTURE_FORMATS
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_png
from pointcept_bsa.mesh_io import Mesh, write_mesh
from pointcept_bsa.training.evaluation.canvas import Canvas

UNSEEN = (0.86, 0.86, 0.86, 1.0)


@dataclass
class Drawing:
    """A figure, and the values it paints on the points of the cloud: {name: (N,) or (N, k)}."""

    figure: Any
    fields: dict[str, np.ndarray] = field(default_factory=dict)


def new_figure(columns: int, rows: int, canvas: Canvas | None = None, width: float = 4.6, extra: float = 0.7) -> Any:
    """A figure for ``rows`` x ``columns`` panels that show the canvas."""
    from matplotlib.figure import Figure

    height = width * 0.75 if canvas is None else float(np.clip(width * canvas.aspect, 1.2, 1.4 * width)) + extra
    figure = Figure(figsize=(width * columns + 0.6, height * rows + 0.6), layout="constrained")
    return figure


def class_colours(classes: np.ndarray) -> np.ndarray:
    """(N, 4) colours of whole numbers, such that neighbouring numbers differ: golden steps around the hue circle."""
    from matplotlib.colors import hsv_to_rgb

    number = classes.astype(np.int64)
    hue = (number * 0.61803398875) % 1.0
    saturation = 0.5 + 0.3 * ((number // 2) % 2)
    value = 0.95 - 0.22 * (number % 2)
    colours = np.ones((len(number), 4))
    colours[:, :3] = hsv_to_rgb(np.stack([hue, saturation, value], -1))
    return colours


def save(drawing: Drawing, stem: Path, formats: Sequence[str], subject: Subject | None) -> list[Path]:
    """Write ``stem``.png and, with "vtp" among the formats, the fields on the cloud; returns the files.

    Raises:
        InputError: an unknown format, or a picture that is not of a cloud asked for as VTP.
    """
    for name in formats:
        if name not in PICTURE_FORMATS:
            raise InputError(f"--format {name!r}: wanted one of {list(PICTURE_FORMATS)}")
    written = []
    if "png" in formats:
        path = stem.with_name(stem.name + ".png")
        write_png(path, drawing.figure, dpi=130)
        written.append(path)
    if "vtp" in formats:
        if subject is None or not drawing.fields:
            raise InputError(f"--format vtp: {stem.name} is no picture of a cloud, wanted png")
        path = stem.with_name(stem.name + ".vtp")
        write_mesh(path, as_mesh(subject.coord, subject.face, drawing.fields))
        written.append(path)
    return written


def as_mesh(coord: np.ndarray, face: np.ndarray | None, fields: Mapping[str, np.ndarray]) -> Mesh:
    """The cloud with its faces, or with one vertex cell a point, so that every reader shows the points."""
    if face is None:
        cells = {"vertex": np.arange(len(coord), dtype=np.int64)[:, None]}
    else:
        cells = {"triangle" if face.shape[1] == 3 else "quad": face.astype(np.int64)}
    points = coord.astype(np.float64)
    return Mesh(points=points, cells=cells, point_data={k: np.asarray(v) for k, v in fields.items()}, cell_data={})
