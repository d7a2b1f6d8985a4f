"""Binary legacy VTK files by blocks of rows; see ``streams``.

The file is mapped into memory, where the kernel keeps of it what it has room for.
"""

from __future__ import annotations

import mmap
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.cells import POLYGON
from pointcept_bsa.mesh_io.source import Source
from pointcept_bsa.mesh_io.streams import ArrayStream, CellStream, FieldStreams, MeshStream, Take
from pointcept_bsa.mesh_io.vtk_legacy import LegacyReader

MOST = 1 << 25  # integers


def open_legacy_stream(path: Path) -> MeshStream:
    """Open an unstructured grid or a surface.

    Raises:
        InputError: missing or malformed, written as text, cells of a surface that are no polygons.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}), wanted a legacy VTK file") from None
    return _Streaming(_MappedSource(cast(bytes, mapped), path), mapped).stream()


class _MappedSource(Source):
    def binary(self, count: int, dtype: np.dtype, what: str) -> np.ndarray:
        """As ``Source.binary``, without a copy: the numbers as the file has them."""
        self.skip(self.counted(count, what) * dtype.itemsize, what)
        return np.frombuffer(self.data, dtype, count, self.position - count * dtype.itemsize)


class _Streaming(LegacyReader):
    def __init__(self, source: Source, mapped: mmap.mmap) -> None:
        super().__init__(source)
        self.mapped = mapped

    def stream(self) -> MeshStream:
        self.read_sections()
        if not self.binary or self.points is None or self.grid not in ("UNSTRUCTURED_GRID", "POLYDATA"):
            raise InputError(f"{self.where}: is no whole binary unstructured grid or surface, wanted one of them")
        num_points = len(self.points)
        cells = self._cells(num_points)
        count = cells.ends.rows if cells is not None else 0
        rows = {"POINT_DATA": num_points, "CELL_DATA": None if cells is None else count}
        point_data, cell_data = (
            FieldStreams({n: partial(self._field, n, v, rows[kind]) for n, v in self.fields[kind].items()})
            for kind in rows
        )
        return MeshStream(
            self.where,
            self._array(self.points),
            cells=cells,
            num_cells=count,
            point_data=point_data,
            cell_data=cell_data,
            close=lambda: None,
        )

    def _cells(self, num_points: int) -> CellStream | None:
        types = None
        sizes, connectivity = self.unstructured or (np.empty(0), np.empty(0))
        if self.cells:
            kinds, sizes, connectivity = self.cells[0]
            if len(self.cells) > 1 or kinds[:1] != POLYGON:
                return None
        elif self.types is not None:
            types = self._array(self.types)
        if not len(sizes):
            return None
        ends = self._array(np.cumsum(sizes))
        return CellStream(ends, self._array(connectivity), types, num_points, self.where)

    def _read_cells(self, section: str) -> tuple[np.ndarray, np.ndarray]:
        """Cells of old files, counts and points in one array, are taken apart in memory: of large grids not at all."""
        start = self.source.position
        _, size = self._count(section), self._count(section)
        if self.version >= 5 or size <= MOST:
            self.source.position = start
            return super()._read_cells(section)
        self._numbers(size, "int", section)
        return np.empty(0, np.int64), np.empty(0, np.int64)

    def _field(self, name: str, values: np.ndarray, rows: int | None) -> ArrayStream:
        if rows is not None and len(values) != rows:
            raise InputError(f"{self.where}: field {name!r} has {len(values)} rows, wanted {rows}")
        return self._array(values)

    def _array(self, values: np.ndarray) -> ArrayStream:
        flat, native = values.reshape(-1), values.dtype.newbyteorder("=")

        def opened() -> Take:
            position = 0

            def take(count: int) -> np.ndarray:
                nonlocal position
                found = flat[position : position + count].astype(native)
                position += count
                if hasattr(mmap, "MADV_DONTNEED"):  # what was read need not stay in memory
                    self.mapped.madvise(mmap.MADV_DONTNEED)
                return found

            return take

        return ArrayStream(len(values), values[0].size if len(values) else 1, native, opened)
