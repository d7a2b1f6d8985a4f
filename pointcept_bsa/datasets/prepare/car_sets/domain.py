"""The points of a domain and their fields from its files, by blocks."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.car_sets.spec import Domain, Field
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.npy_file import NpyRows
from pointcept_bsa.mesh_io.open_stream import open_mesh_stream
from pointcept_bsa.mesh_io.streams import BLOCK, ArrayStream, CellStream, MeshStream, area_vectors, centers

Arrays = tuple[ArrayStream, ...]
Block = dict[str, np.ndarray]  # name -> (n, columns)


def array_of(mesh: MeshStream, association: str, name: str, columns: int) -> ArrayStream:
    """The array of a field. Raises ``InputError``: it is not there, or has other columns."""
    data = mesh.cell_data if association == "cell" else mesh.point_data
    if name not in data:
        names = list(data)
        raise InputError(f"{mesh.where}: has {association} fields {names}, wanted also {name!r}{nearest(name, names)}")
    array = data[name]
    if array.columns != columns:
        raise InputError(f"{mesh.where}: {association} field {name!r} has {array.columns} columns, wanted {columns}")
    return array


class OpenedDomain:
    """The files of a domain, opened and looked through; use it in a ``with``.

    Raises:
        InputError: a damaged file, a missing field, points of another file that are not those of the first.
    """

    def __init__(self, domain: Domain, files: list[list[Path]]) -> None:
        self._stack = ExitStack()
        self.domain = domain
        try:
            self.meshes = [self._stack.enter_context(open_mesh_stream(paths)) for paths in files]
            self.mesh = self.meshes[0]
            self.rows = self.mesh.num_cells if domain.of_cells else self.mesh.points.rows
            if self.rows == 0:
                raise InputError(f"{self.mesh.where}: has no {domain.association}s, wanted at least one")
            self.arrays = {
                field.name: (mesh, self._arrays(mesh, field))
                for mesh, source in zip(self.meshes, domain.sources, strict=True)
                for field in source.fields
            }
            if domain.normals is not None:
                array_of(self.mesh, "point", domain.normals, 3)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> OpenedDomain:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def blocks(self, field: Field) -> Iterator[np.ndarray]:
        """The field (n, columns), in the order of the first file."""
        mesh, arrays = self.arrays[field.name]
        parts = zip(*(array.blocks() for array in arrays), strict=True)
        together = (np.concatenate(columns, axis=1) * field.scale for columns in parts)
        if mesh is self.mesh:
            yield from together
            return
        values = np.concatenate(list(together))[same_points(self.mesh, mesh)]
        for start in range(0, len(values), BLOCK):
            yield values[start : start + BLOCK]

    def _arrays(self, mesh: MeshStream, field: Field) -> Arrays:
        columns = field.columns // len(field.arrays)
        return tuple(array_of(mesh, self.domain.association, name, columns) for name in field.arrays)


def same_points(first: MeshStream, other: MeshStream) -> np.ndarray:
    """Where each point of ``first`` is in ``other``, by its coordinates; of both the points are in memory.

    Raises:
        InputError: other points.
    """
    a, b = (np.concatenate(list(mesh.points.blocks())) for mesh in (first, other))
    order_a, order_b = (np.lexsort(points.T) for points in (a, b))
    if a.shape != b.shape or not np.array_equal(a[order_a], b[order_b]):
        raise InputError(f"{other.where}: has other points than {first.where}, wanted the same in any order")
    place = np.empty(len(a), np.int64)
    place[order_a] = order_b
    return place


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
