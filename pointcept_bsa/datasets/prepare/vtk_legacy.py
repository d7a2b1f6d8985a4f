"""Quad meshes from legacy VTK files, checked against the counts that the headers of the sections announce."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.vtk_legacy import read_vtk

_HEADER = re.compile(rb"^[ \t]*(POINTS|CELLS|CELL_TYPES)[ \t]+(\d{1,18})", re.MULTILINE | re.IGNORECASE)


def read_quad_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (P, 3) float32 and quads (F, 4) int64 of a legacy VTK unstructured grid.

    Raises:
        InputError: missing, foreign or truncated file, cells other than quads, a quad naming a point that is not there.
    """
    path = Path(path)
    announced = _announced_counts(path)
    mesh = read_vtk(path)
    points = mesh.points
    if len(points) != announced["POINTS"]:
        raise InputError(f"{path}: {len(points)} points read, wanted {announced['POINTS']} as its header says")
    if list(mesh.cells) != ["quad"]:
        raise InputError(f"{path}: cells are {list(mesh.cells)}, wanted quads only")
    quads = mesh.cells["quad"]
    if not len(quads) == announced["CELLS"] == announced["CELL_TYPES"]:
        raise InputError(f"{path}: {len(quads)} quads read, wanted {announced['CELLS']} as its header says")
    if quads.min() < 0 or quads.max() >= len(points):
        raise InputError(f"{path}: quads name points {quads.min()} to {quads.max()}, wanted 0 to {len(points) - 1}")
    return points.astype(np.float32), quads


def _announced_counts(path: Path) -> dict[str, int]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a legacy VTK file") from None
    if not content.startswith(b"# vtk DataFile"):
        raise InputError(f"{path}: is not a legacy VTK file (it does not begin with '# vtk DataFile')")
    counts = {name.decode().upper(): int(number) for name, number in _HEADER.findall(content)}
    missing = [name for name in ("POINTS", "CELLS", "CELL_TYPES") if name not in counts]
    if missing:
        raise InputError(f"{path}: has no section {missing[0]}, wanted a whole unstructured grid")
    return counts
