"""The fields of a domain from its files, by blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.car_sets.spec import Domain, Field
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.mesh_io.open_stream import open_mesh_stream
from pointcept_bsa.mesh_io.streams import BLOCK, ArrayStream, MeshStream

Arrays = tuple[ArrayStream, ...]


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
        together = (np.concatenate(parts, axis=1) for parts in zip(*(array.blocks() for array in arrays), strict=True))
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
