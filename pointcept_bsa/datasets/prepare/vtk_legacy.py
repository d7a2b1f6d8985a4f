"""Quad meshes from legacy VTK files, read with meshio and checked against the file's own counts.

meshio accepts some files that end early (a short CELL_TYPES list drops cells without a word); the counts that the
section headers announce are therefore compared with what came out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError

_HEADER = re.compile(rb"^[ \t]*(POINTS|CELLS|CELL_TYPES)[ \t]+(\d+)", re.MULTILINE | re.IGNORECASE)


def read_quad_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (P, 3) float32 and quads (F, 4) int64 of a legacy VTK unstructured grid.

    Raises:
        InputError: missing, foreign or truncated file, cells other than quads, a quad naming a point that is not there.
    """
    path = Path(path)
    announced = _announced_counts(path)
    mesh = _read_with_meshio(path)
    points = np.asarray(mesh.points)
    if points.ndim != 2 or points.shape != (announced["POINTS"], 3):
        raise InputError(f"{path}: {len(points)} points read, wanted {announced['POINTS']} as its header says")
    kinds = sorted({block.type for block in mesh.cells})
    if kinds != ["quad"]:
        raise InputError(f"{path}: cells are {kinds}, wanted quads only")
    quads = np.concatenate([block.data for block in mesh.cells]).astype(np.int64)
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


def _read_with_meshio(path: Path) -> Any:
    import meshio  # only preparation needs it

    try:  # meshio.read() would end the process on a bad file, meshio.vtk.read() raises
        return meshio.vtk.read(path)
    # numpy only warns of text among numbers and stops there: an exception where warnings are errors, else a short count
    except (meshio.ReadError, ValueError, IndexError, KeyError, TypeError, DeprecationWarning) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: is not a whole legacy VTK unstructured grid ({reason})") from None
