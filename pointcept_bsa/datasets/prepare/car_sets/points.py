"""The points of a domain and what the mesh says of them, by blocks."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.car_sets.spec import Domain
from pointcept_bsa.datasets.prepare.car_sets.fields import array_of
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.npy_file import NpyRows
from pointcept_bsa.mesh_io.streams import CellStream, MeshStream, area_vectors, centers

Block = dict[str, np.ndarray]  # name -> (n, columns)


def geometry_blocks(mesh: MeshStream, domain: Domain, scratch: Path) -> Iterator[Block]:
    """``coord``, and of a surface ``normal`` and ``area``, of the cells or the points, block by block.

    ``scratch``: a file to keep the points of cells in, which are asked for in any order.

    Raises:
        InputError: no cells where they are needed, cells that are no polygons, a polygon without an area.
    """
    surface = domain.name == "surface"
    if mesh.cells is None and (domain.of_cells or surface):
        raise InputError(f"{mesh.where}: has no cells, or others than those of a {domain.name}, wanted them alone")
    if surface and mesh.cells is not None:
        mesh.cells.check_polygons()
    if not domain.of_cells and not surface:
        return ({"coord": block} for block in mesh.points.blocks())
    assert mesh.cells is not None
    corners = _Corners(mesh, scratch)
    sign = -1.0 if domain.inward else 1.0
    if domain.of_cells:
        return _cell_blocks(mesh.cells, corners, surface, sign, mesh.where)
    return _point_blocks(mesh, mesh.cells, corners, sign, domain.normals)


class _Corners:
    """The points of a mesh, on the disk; the memory holds what the kernel keeps of them."""

    def __init__(self, mesh: MeshStream, scratch: Path) -> None:
        file = NpyRows(scratch, mesh.points.rows, 3, mesh.points.dtype.str)
        row = 0
        for block in mesh.points.blocks():
            file.write(row, block)
            row += len(block)
        file.close()
        size = scratch.stat().st_size
        with scratch.open("rb") as opened:
            self._mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        start = size - mesh.points.num_bytes
        self._points = np.frombuffer(self._mapped, mesh.points.dtype, offset=start).reshape(-1, 3)

    def of(self, numbers: np.ndarray) -> np.ndarray:
        found = self._points[numbers]
        if hasattr(mmap, "MADV_DONTNEED"):  # or the pages would count as this process's own
            self._mapped.madvise(mmap.MADV_DONTNEED)
        return found


def _cell_blocks(cells: CellStream, corners: _Corners, surface: bool, sign: float, where: object) -> Iterator[Block]:
    for sizes, numbers in cells.blocks():
        points = corners.of(numbers)
        block = {"coord": centers(points, sizes)}
        if surface:
            block |= _normal_and_area(sign * area_vectors(points, sizes), where)
        yield block


def _point_blocks(
    mesh: MeshStream, cells: CellStream, corners: _Corners, sign: float, normals: str | None
) -> Iterator[Block]:
    """Each polygon gives its area and its area vector to its corners in equal shares."""
    vector, area = np.zeros((mesh.points.rows, 3)), np.zeros(mesh.points.rows)
    for sizes, numbers in cells.blocks():
        share = area_vectors(corners.of(numbers), sizes) / sizes[:, None]
        for axis in range(3):
            vector[:, axis] += np.bincount(numbers, np.repeat(share[:, axis], sizes), minlength=len(area))
        area += np.bincount(numbers, np.repeat(np.linalg.norm(share, axis=1), sizes), minlength=len(area))
    given = None if normals is None else array_of(mesh, "point", normals, 3).blocks()
    row = 0
    for coord in mesh.points.blocks():
        rows = slice(row, row + len(coord))
        row += len(coord)
        direction = sign * vector[rows] if given is None else next(given).astype(np.float64)
        found = _normal_and_area(direction, mesh.where)
        yield {"coord": coord, "normal": found["normal"], "area": area[rows, None]}


def _normal_and_area(vector: np.ndarray, where: object) -> Block:
    """Directions and lengths. Without a length the direction is zero."""
    length = np.linalg.norm(vector, axis=1, keepdims=True)
    return {"normal": np.divide(vector, length, out=np.zeros_like(vector), where=length > 0), "area": length}
