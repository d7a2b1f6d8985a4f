"""A mesh in memory: points, cells and the fields on them.

Letters: N points, F cells, k points of a cell, K columns of a field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pointcept_bsa.errors import InputError

Fields = dict[str, np.ndarray]


@dataclass
class Mesh:
    """Points, cells by type, fields on points and on cells.

    Attributes:
        points: (N, 3) float64; (N, 2) becomes (N, 3) with z = 0 when written.
        cells: meshio's name of a cell type ("triangle", "quad", "tetra", "hexahedron", ...; "polygon5" for a polygon
            of five points) -> (F, k) int64, rows of ``points``.
        point_data: name -> (N,) or (N, K).
        cell_data: name -> (F_all,) or (F_all, K), the cells in the order of ``cells``.
        field_data: name -> values of the mesh as a whole, any shape.
        left_out: what the file has beside that and a mesh does not hold, such as arrays of text, by name.
    """

    points: np.ndarray
    cells: Fields = field(default_factory=dict)
    point_data: Fields = field(default_factory=dict)
    cell_data: Fields = field(default_factory=dict)
    field_data: Fields = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def num_cells(self) -> int:
        return sum(len(cells) for cells in self.cells.values())


def left_out_lines(names: Iterable[str]) -> list[str]:
    """Return the line that says what of files is not taken, see ``Mesh.left_out``; none where there are no names."""
    told = ", ".join(names)
    return [f"neither numbers nor cells of a fixed shape, and left out: {told}"] if told else []


def checked_mesh(mesh: Mesh, where: object) -> Mesh:
    """Return ``mesh`` with arrays of the types that ``Mesh`` promises; values stay, NaN among them.

    Fields get a number type that every format has: float16 becomes float32, a longer float than float64 float64, bool
    uint8, foreign byte orders this machine's.

    Raises:
        InputError: shapes that do not belong together, no numbers, cells naming points that are not there.
    """
    points = _numbers(mesh.points, "points", where)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise InputError(f"{where}: points have shape {points.shape}, wanted (N, 3) or (N, 2)")
    if points.shape[1] == 2:
        points = np.concatenate([points, np.zeros((len(points), 1), points.dtype)], axis=1)
    cells = {name: _checked_cells(name, block, len(points), where) for name, block in mesh.cells.items()}
    num_cells = sum(len(block) for block in cells.values())
    return Mesh(
        np.ascontiguousarray(points, dtype=np.float64),
        cells,
        _checked_fields(mesh.point_data, len(points), "point", where),
        _checked_fields(mesh.cell_data, num_cells, "cell", where),
        {name: _numbers(values, name, where) for name, values in mesh.field_data.items()},
        tuple(mesh.left_out),
    )


def _checked_cells(name: str, block: np.ndarray, num_points: int, where: object) -> np.ndarray:
    block = _numbers(block, f"cells {name!r}", where)
    if block.ndim != 2 or block.dtype.kind not in "iu":
        raise InputError(
            f"{where}: cells {name!r} are {block.dtype} of shape {block.shape}, wanted integers (cells, points)"
        )
    if block.size and not (block.min() >= 0 and block.max() < num_points):
        raise InputError(
            f"{where}: cells {name!r} name points {block.min()} to {block.max()}, wanted 0 to {num_points - 1}"
        )
    return block.astype(np.int64)


def _checked_fields(fields: Fields, rows: int, kind: str, where: object) -> Fields:
    checked = {}
    for name, values in fields.items():
        values = _numbers(values, name, where)
        if values.ndim not in (1, 2) or len(values) != rows:
            raise InputError(
                f"{where}: {kind} field {name!r} has shape {values.shape}, wanted {rows} rows, one a {kind}"
            )
        checked[name] = values
    return checked


def _numbers(values: np.ndarray, name: str, where: object) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind not in "fiu":
        raise InputError(f"{where}: {name!r} holds {values.dtype} values, wanted numbers")
    if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):  # float16 and longdouble
        return values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    return values.astype(values.dtype.newbyteorder("="))
