"""Meshes read by blocks of rows, for files that memory does not hold: one array at a time, from front to back.

``open_mesh_stream`` reads the markup of a file and where its arrays lie; numbers are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pointcept_bsa.errors import InputError

BLOCK = 1 << 17  # rows of a block
FACES = (5, 7, 9)  # VTK's types of triangles, polygons, quads
Take = Callable[[int], np.ndarray]  # the next so many numbers of an array


class ArrayStream(NamedTuple):
    """``rows`` rows of ``columns`` numbers; ``open`` begins to read at the first."""

    rows: int
    columns: int
    dtype: np.dtype
    open: Callable[[], Take]

    @property
    def num_bytes(self) -> int:
        return self.rows * self.columns * self.dtype.itemsize

    def blocks(self, rows: int = BLOCK) -> Iterator[np.ndarray]:
        """Blocks (n, columns) of at most ``rows`` rows. Raises ``InputError`` for a damaged file."""
        take = self.open()
        for start in range(0, self.rows, rows):
            count = min(rows, self.rows - start)
            yield take(count * self.columns).reshape(count, self.columns)


class CellStream(NamedTuple):
    """Cells as VTK has them: where each ends among the point numbers of all, and VTK's types (None: all polygons)."""

    ends: ArrayStream
    connectivity: ArrayStream
    types: ArrayStream | None
    num_points: int
    where: object

    def blocks(self, rows: int = BLOCK) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Sizes (n,) and point numbers (sum of the sizes,) of at most ``rows`` cells at a time.

        Raises:
            InputError: a damaged file, offsets that do not rise to the end, points that are not there.
        """
        take, last = self.connectivity.open(), 0
        for ends in self.ends.blocks(rows):
            sizes = np.diff(ends[:, 0].astype(np.int64), prepend=last)
            last = int(ends[-1, 0])
            if sizes.min() < 1 or last > self.connectivity.rows:
                raise InputError(
                    f"{self.where}: offsets of the cells do not rise from 0 to {self.connectivity.rows}, wanted cells "
                    "of one point or more"
                )
            points = take(int(sizes.sum())).astype(np.int64)
            if points.min() < 0 or points.max() >= self.num_points:
                raise InputError(
                    f"{self.where}: cells name points {points.min()} to {points.max()} of {self.num_points}"
                )
            yield sizes, points

    def check_polygons(self) -> None:
        """Raise ``InputError`` for cells that are no triangles, quads or polygons."""
        for types in self.types.blocks() if self.types is not None else ():
            others = np.setdiff1d(types, FACES)
            if len(others):
                raise InputError(f"{self.where}: has cells of VTK's type {others[0]}, wanted {FACES} (polygons)")


class FieldStreams(Mapping[str, ArrayStream]):
    """Fields by name; one that cannot be read is an error only when it is asked for."""

    def __init__(self, found: Mapping[str, Callable[[], ArrayStream]]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> ArrayStream:
        return self._found[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@dataclass(frozen=True)
class MeshStream:
    """The arrays of a mesh. ``cells`` is None where the file has none, or a surface others than polygons.

    Close it when done: it keeps its files open.
    """

    where: object
    points: ArrayStream
    cells: CellStream | None
    num_cells: int
    point_data: FieldStreams
    cell_data: FieldStreams
    close: Callable[[], None]

    def __enter__(self) -> MeshStream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def centers(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(F, 3) means of the corners of cells: ``corners`` (sum of ``sizes``, 3), one cell after the other."""
    if sizes.min() == sizes.max():
        return corners.reshape(len(sizes), sizes[0], 3).mean(axis=1, dtype=np.float64)
    starts = np.cumsum(sizes) - sizes
    return np.add.reduceat(corners.astype(np.float64), starts, axis=0) / sizes[:, None]


def area_vectors(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    r"""(F, 3) area vectors of polygons, :math:`\frac12 \sum_i (v_i - c) \times (v_{i+1} - c)`, with c the mean corner.

    They point to where the corners run counter-clockwise; the length is the area (of polygons that are not plane: of
    their shadow along the vector).
    """
    starts = np.cumsum(sizes) - sizes
    arms = corners.astype(np.float64) - np.repeat(centers(corners, sizes), sizes, axis=0)
    following = np.arange(1, len(corners) + 1)
    following[starts + sizes - 1] = starts
    return np.add.reduceat(np.cross(arms, arms[following]), starts, axis=0) / 2
