"""VTK's numbers of cell types, the names meshio gives them, and cells of mixed types sorted into blocks."""

from __future__ import annotations

import re

import numpy as np

from pointcept_bsa.errors import InputError

NAMES = {
    1: ("vertex", 1),
    3: ("line", 2),
    5: ("triangle", 3),
    9: ("quad", 4),
    10: ("tetra", 4),
    12: ("hexahedron", 8),
    13: ("wedge", 6),
    14: ("pyramid", 5),
    21: ("line3", 3),
    22: ("triangle6", 6),
    23: ("quad8", 8),
    24: ("tetra10", 10),
    25: ("hexahedron20", 20),
    26: ("wedge15", 15),
    27: ("pyramid13", 13),
    28: ("quad9", 9),
    29: ("hexahedron27", 27),
}
IDS = {name: (number, points) for number, (name, points) in NAMES.items()}
# Types that hold any number of points: {points: name} of the small ones, then a name completed by the number.
FREE = {2: ({1: "vertex"}, "polyvertex"), 4: ({2: "line"}, "polyline"), 7: ({3: "triangle", 4: "quad"}, "polygon")}
# Cells whose points meshio puts in another order than VTK; each order is its own inverse.
ORDER = {"wedge": [0, 2, 1, 3, 5, 4]}
PIXELS = {8: ("quad", 4, [0, 1, 3, 2]), 11: ("hexahedron", 8, [0, 1, 3, 2, 4, 5, 7, 6])}
POLY_VERTEX, POLY_LINE, STRIP, POLYGON = 2, 4, 6, 7
# Cells without a fixed shape: their points are read, they themselves are left out.
SHAPELESS = {0: "empty cells", 41: "convex point sets", 42: "polyhedra"}
WITH_POINTS = ("convex point sets", "polyhedra")  # those that points may belong to


def sort_cells(
    types: np.ndarray, offsets: np.ndarray, connectivity: np.ndarray, where: object
) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[str, ...]]:
    """Return the blocks of cells by name, in the order in which the names first occur, and the order of the cells.

    Strips become triangles.

    Args:
        types: (F,) VTK's cell types.
        offsets: (F + 1,) where each cell begins and ends in ``connectivity``.
        connectivity: point numbers of all cells, in VTK's order.

    Returns:
        Blocks (f, k) int64 in meshio's order, ``order``, by which cell data of the blocks are ``data[order]``, and the
        kinds of cells that were left out.

    Raises:
        InputError: offsets that fall or lead out of the connectivity, an unknown type, a cell of a wrong size.
    """
    if len(offsets) != len(types) + 1:
        raise InputError(f"{where}: has {len(types)} cell types and {len(offsets) - 1} cells, wanted as many")
    offsets = offsets.astype(np.int64)
    sizes = np.diff(offsets)
    if np.any(sizes < 0) or offsets[0] != 0 or offsets[-1] != len(connectivity):
        raise InputError(f"{where}: cell offsets do not rise from 0 to the {len(connectivity)} entries of the cells")
    if len(types) == 0:
        return {}, np.empty(0, np.int64), ()
    kinds, first, inverse = np.unique(
        np.stack([types.astype(np.int64), sizes], axis=1), axis=0, return_index=True, return_inverse=True
    )
    inverse = inverse.reshape(-1)
    blocks: dict[str, list[np.ndarray]] = {}
    rows: dict[str, list[np.ndarray]] = {}
    for kind in np.argsort(first):
        number, size = kinds[kind].tolist()
        if number in SHAPELESS:
            continue
        members = np.flatnonzero(inverse == kind) if len(kinds) > 1 else np.arange(len(types))
        block = connectivity[offsets[members][:, None] + np.arange(size)].astype(np.int64)
        if number == STRIP and size > 2:
            block, members = _strip_triangles(block), np.repeat(members, size - 2)
            number, size = 5, 3
        name, order = _name_and_order(number, size, where)
        blocks.setdefault(name, []).append(block if order is None else block[:, order])
        rows.setdefault(name, []).append(members)
    cells = {name: np.concatenate(parts) for name, parts in blocks.items()}
    left_out = tuple(name for number, name in SHAPELESS.items() if np.any(types == number))
    rows_in_order = [part for parts in rows.values() for part in parts]
    return cells, np.concatenate([np.empty(0, np.int64), *rows_in_order]), left_out


def _strip_triangles(strip: np.ndarray) -> np.ndarray:
    """(f (k - 2), 3) of strips (f, k): every second triangle runs the other way round."""
    first = np.arange(strip.shape[1] - 2)[:, None]
    corner = np.where(first % 2 == 0, first + [0, 1, 2], first + [1, 0, 2])
    return strip[:, corner].reshape(-1, 3)


def vtk_cells(cells: dict[str, np.ndarray], where: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return types (F,), offsets (F + 1,) and connectivity of blocks of cells: the inverse of ``sort_cells``.

    Raises:
        InputError: a name that VTK has no type for, a block of a wrong width.
    """
    types, sizes, connectivity = [], [], []
    for name, block in cells.items():
        types.append(np.full(len(block), vtk_type(name, block.shape[1], where), np.int64))
        sizes.append(np.full(len(block), block.shape[1], np.int64))
        connectivity.append((block[:, ORDER[name]] if name in ORDER else block).reshape(-1))
    if not types:
        return np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
    return np.concatenate(types), offsets.astype(np.int64), np.concatenate(connectivity)


def vtk_type(name: str, points: int, where: object) -> int:
    """Return VTK's number of the cell type ``name`` with ``points`` points.

    Raises:
        InputError: no such type, or it has another number of points.
    """
    if name in IDS:
        number, wanted = IDS[name]
        if points != wanted:
            raise InputError(f"{where}: cells {name!r} have {points} points, wanted {wanted}")
        return number
    for number, (_, free) in FREE.items():
        if re.fullmatch(rf"{free}\d*", name):
            return number
    raise InputError(f"{where}: got cells {name!r}, wanted one of {[*IDS, 'polygon<points>', 'polyline<points>']}")


def _name_and_order(number: int, size: int, where: object) -> tuple[str, list[int] | None]:
    if number in FREE:
        small, free = FREE[number]
        if size < 1:
            raise InputError(f"{where}: has a cell of VTK's type {number} without points")
        return small.get(size, f"{free}{size}"), None
    order: list[int] | None
    if number in PIXELS:
        name, wanted, order = PIXELS[number]
    elif number in NAMES:
        name, wanted = NAMES[number]
        order = ORDER.get(name)
    else:
        raise InputError(
            f"{where}: has a cell of VTK's type {number}, wanted one of {sorted([*NAMES, *FREE, *PIXELS])}"
        )
    if size != wanted:
        raise InputError(f"{where}: has a cell {name!r} of {size} points, wanted {wanted}")
    return name, order
