"""Legacy VTK files, text and binary, versions up to 5.1: unstructured grids, surfaces and structured grids.

The format: "VTK File Formats", Kitware; binary numbers are big-endian. Of structured grids the points and their data
are read, with cells where they are quads or hexahedra.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.cells import POLY_LINE, POLY_VERTEX, POLYGON, sort_cells, vtk_cells
from pointcept_bsa.mesh_io.mesh import Fields, Mesh
from pointcept_bsa.mesh_io.source import MAX_BYTES, Source, read_file, whole_number

TYPES = {
    "unsigned_char": "u1",
    "char": "i1",
    "signed_char": "i1",
    "unsigned_short": "u2",
    "short": "i2",
    "unsigned_int": "u4",
    "int": "i4",
    "unsigned_long": "u8",
    "long": "i8",
    **{f"vtktypeint{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"vtktypeuint{bits}": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"vtktypefloat{bits}": f"f{bits // 8}" for bits in (32, 64)},
    "vtkidtype": "i4",
    "float": "f4",
    "double": "f8",
}
NAMES = {"u1": "unsigned_char", "i1": "char", "u2": "unsigned_short", "i2": "short", "u4": "unsigned_int", "i4": "int"}
NAMES |= {"u8": "vtktypeuint64", "i8": "vtktypeint64", "f4": "float", "f8": "double"}
CELL_SECTIONS = {"VERTICES": POLY_VERTEX, "LINES": POLY_LINE, "POLYGONS": POLYGON}
COLUMNS = {"VECTORS": 3, "NORMALS": 3, "TENSORS": 9, "TENSORS6": 6, "GLOBAL_IDS": 1, "PEDIGREE_IDS": 1}
SECTIONS: dict[str, tuple[str, ...]] = {"CELLS": ("UNSTRUCTURED_GRID",), "CELL_TYPES": ("UNSTRUCTURED_GRID",)}
SECTIONS |= dict.fromkeys(CELL_SECTIONS, ("POLYDATA",))
SECTIONS["POINTS"] = ("UNSTRUCTURED_GRID", "POLYDATA", "STRUCTURED_GRID")
GRIDS = ("UNSTRUCTURED_GRID", "POLYDATA", "STRUCTURED_GRID", "STRUCTURED_POINTS", "RECTILINEAR_GRID")


def read_vtk(path: Path) -> Mesh:
    """Raises ``InputError``: not a whole legacy VTK file of a known kind."""
    return _LegacyReader(Source(read_file(path, "a legacy VTK file"), path)).read()


class _LegacyReader:
    """The state of reading one file: what the sections so far have said."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.where = source.where
        self.binary = False
        self.version = 0.0
        self.grid = ""
        self.points: np.ndarray | None = None
        self.cells: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # types, sizes, connectivity
        self.unstructured: tuple[np.ndarray, np.ndarray] | None = None  # sizes, connectivity
        self.types: np.ndarray | None = None
        self.axes: dict[str, np.ndarray] = {}
        self.dimensions: list[int] = []
        self.lattice: dict[str, list[float]] = {}
        self.fields: dict[str, Fields] = {"": {}, "POINT_DATA": {}, "CELL_DATA": {}}
        self.active, self.rows = "", 0

    def read(self) -> Mesh:
        self._read_head()
        for line in self.source.filled_lines():
            words = line.split()
            self._read_section(words[0].upper(), words)
        points, types, offsets, connectivity = self._assembled()
        for kind, count in (("POINT_DATA", len(points)), ("CELL_DATA", len(types))):
            for name, values in self.fields[kind].items():
                if len(values) != count:
                    raise InputError(f"{self.where}: {kind} {name!r} has {len(values)} rows, wanted {count}")
        cells, order = sort_cells(types, offsets, connectivity, self.where)
        cell_data = {name: values[order] for name, values in self.fields["CELL_DATA"].items()}
        return Mesh(points, cells, self.fields["POINT_DATA"], cell_data, self.fields[""])

    def _read_head(self) -> None:
        head = self.source.line() or ""
        if not head.lower().startswith("# vtk datafile version"):
            raise InputError(
                f"{self.where}: is not a legacy VTK file (it does not begin with '# vtk DataFile Version')"
            )
        try:
            self.version = float(head.split()[-1])
        except ValueError:
            raise InputError(f"{self.where}: has the version {head.split()[-1][:20]!r}, wanted a number") from None
        title_end = self.source.data.find(b"\n", self.source.position)
        self.source.position = len(self.source.data) if title_end < 0 else title_end + 1
        encoding = (self.source.line() or "").upper()
        if encoding not in ("ASCII", "BINARY"):
            raise InputError(f"{self.where}: is written as {encoding[:20]!r}, wanted ASCII or BINARY")
        self.binary = encoding == "BINARY"

    def _read_section(self, section: str, words: list[str]) -> None:
        if section == "METADATA":
            self._skip_metadata()
        elif section == "DATASET":
            self.grid = self._word(words, 1).upper()
            if self.grid not in GRIDS:
                raise InputError(f"{self.where}: holds a {self.grid[:40]!r}, wanted one of {list(GRIDS)}")
        elif section in ("POINT_DATA", "CELL_DATA"):
            self.active, self.rows = section, self._count(words, 1)
        elif self.active:
            self._read_attribute(section, words)
        elif section == "FIELD":
            self.fields[""].update(self._read_field(self._count(words, 2), None))
        else:
            self._read_geometry(section, words)

    def _read_geometry(self, section: str, words: list[str]) -> None:
        if section in SECTIONS and self.grid not in SECTIONS[section]:
            raise InputError(
                f"{self.where}: has a section {section}, which a {self.grid or 'file without DATASET'} has not"
            )
        if section == "POINTS":
            self.points = self._numbers(3 * self._count(words, 1), self._word(words, 2), section).reshape(-1, 3)
        elif section in CELL_SECTIONS:
            sizes, connectivity = self._read_cells(words)
            self.cells.append((np.full(len(sizes), CELL_SECTIONS[section]), sizes, connectivity))
        elif section == "CELLS":
            self.unstructured = self._read_cells(words)
        elif section == "CELL_TYPES":
            self.types = self._numbers(self._count(words, 1), "int", section)
        elif section == "DIMENSIONS":
            self.dimensions = [self._count(words, i) for i in (1, 2, 3)]
        elif section in ("ORIGIN", "SPACING", "ASPECT_RATIO"):
            self.lattice[section] = [self._float(words, i) for i in (1, 2, 3)]
        elif section in ("X_COORDINATES", "Y_COORDINATES", "Z_COORDINATES"):
            self.axes[section[0]] = self._numbers(self._count(words, 1), self._word(words, 2), section)
        else:
            raise InputError(f"{self.where}: has a section {section[:40]!r}, which is not known here")

    def _read_cells(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Sizes of the cells and their points, of ``<section> <cells> <integers>`` or of version 5's two arrays."""
        section, count, size = words[0].upper(), self._count(words, 1), self._count(words, 2)
        if self.version >= 5 and count:
            offsets = self._numbers(count, self._array_type("OFFSETS"), "OFFSETS").astype(np.int64)
            connectivity = self._numbers(size, self._array_type("CONNECTIVITY"), "CONNECTIVITY")
            sizes = np.diff(offsets)
            if np.any(sizes < 0) or offsets[0] != 0 or offsets[-1] != size:
                raise InputError(f"{self.where}: offsets of {section} do not rise from 0 to {size}")
            return sizes, connectivity
        return _split_counted(self._numbers(size, "int", section), count, section, self.where)

    def _array_type(self, name: str) -> str:
        words = (next(self.source.filled_lines(), "")).split()
        if len(words) != 2 or words[0].upper() != name:
            raise InputError(f"{self.where}: has {' '.join(words)[:40]!r}, wanted '{name} <type>'")
        return words[1]

    def _read_attribute(self, section: str, words: list[str]) -> None:
        fields = self.fields[self.active]
        if section == "FIELD":
            fields.update(self._read_field(self._count(words, 2), self.rows))
        elif section == "LOOKUP_TABLE":
            self._numbers(4 * self._count(words, 2), "unsigned_char" if self.binary else "float", section)
        elif section == "COLOR_SCALARS":
            columns = self._count(words, 2)
            kind = "unsigned_char" if self.binary else "float"
            fields[unquote(self._word(words, 1))] = self._columns(self.rows, columns, kind, section)
        elif section == "SCALARS":
            columns = self._count(words, 3) if len(words) > 3 else 1
            self._skip_table_name()
            fields[unquote(self._word(words, 1))] = self._columns(self.rows, columns, self._word(words, 2), section)
        elif section == "TEXTURE_COORDINATES":
            kind = self._word(words, 3)
            fields[unquote(self._word(words, 1))] = self._columns(self.rows, self._count(words, 2), kind, section)
        elif section in COLUMNS:
            kind = self._word(words, 2)
            fields[unquote(self._word(words, 1))] = self._columns(self.rows, COLUMNS[section], kind, section)
        else:
            raise InputError(f"{self.where}: has an attribute {section[:40]!r}, which is not known here")

    def _skip_table_name(self) -> None:
        start = self.source.position
        if not (next(self.source.filled_lines(), "")).upper().startswith("LOOKUP_TABLE"):
            self.source.position = start  # the line may be left out

    def _read_field(self, count: int, rows: int | None) -> Fields:
        fields: Fields = {}
        for _ in range(count):
            words = self._field_line()
            if len(words) != 4:
                raise InputError(f"{self.where}: has {' '.join(words)[:60]!r}, wanted '<name> <columns> <rows> <type>'")
            columns, length = self._count(words, 1), self._count(words, 2)
            if rows is not None and length != rows:
                raise InputError(f"{self.where}: field {words[0][:40]!r} has {length} rows, wanted {rows}")
            fields[unquote(words[0])] = self._columns(length, columns, words[3], f"field {words[0][:40]!r}")
        return fields

    def _field_line(self) -> list[str]:
        for line in self.source.filled_lines():
            words = line.split()
            if words[0].upper() != "METADATA":
                return words
            self._skip_metadata()
        raise InputError(f"{self.where}: ends within a FIELD: truncated")

    def _skip_metadata(self) -> None:
        while self.source.line():
            pass

    def _columns(self, rows: int, columns: int, kind: str, what: str) -> np.ndarray:
        if columns < 1:
            raise InputError(f"{self.where}: {what} has {columns} columns, wanted at least 1")
        values = self._numbers(rows * columns, kind, what)
        return values if columns == 1 else values.reshape(rows, columns)

    def _numbers(self, count: int, kind: str, what: str) -> np.ndarray:
        if kind.lower() not in TYPES:
            raise InputError(f"{self.where}: {what} is of type {kind[:40]!r}, wanted one of {list(TYPES)}")
        dtype = np.dtype(TYPES[kind.lower()])
        if not self.binary:
            return self.source.text(count, dtype, what)
        values = self.source.binary(count, dtype.newbyteorder(">"), what)
        if self.source.data[self.source.position : self.source.position + 1] == b"\n":
            self.source.position += 1
        return values

    def _assembled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Points, types, offsets and connectivity of whatever kind of grid it was."""
        if self.grid in ("STRUCTURED_GRID", "STRUCTURED_POINTS", "RECTILINEAR_GRID"):
            return self._structured()
        if self.points is None:
            raise InputError(f"{self.where}: has no section POINTS: truncated, or no mesh")
        parts = list(self.cells)
        if self.unstructured is not None or self.types is not None:
            if self.unstructured is None or self.types is None or len(self.types) != len(self.unstructured[0]):
                raise InputError(f"{self.where}: has not as many CELLS as CELL_TYPES: truncated")
            parts.append((self.types, *self.unstructured))
        if not parts:
            return self.points, np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64)
        types, sizes, connectivity = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return self.points, types, np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]), connectivity

    def _structured(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        shape = self.dimensions or [len(self.axes.get(axis, ())) for axis in "XYZ"]
        total = math.prod(shape)
        announced = max([len(values) for values in self.fields["POINT_DATA"].values()], default=0)
        if self.grid == "STRUCTURED_GRID":
            if self.points is None or len(self.points) != total:
                raise InputError(f"{self.where}: has not the {total} points that DIMENSIONS {shape} says: truncated")
            points = self.points
        elif total != announced and 24 * total > min(MAX_BYTES, 1000 * len(self.source.data)):
            raise InputError(f"{self.where}: announces a grid of {total} points without as many values")
        else:
            points = _lattice_points(self._axes(shape))
        return points, *_lattice_cells(shape)

    def _axes(self, shape: list[int]) -> list[np.ndarray]:
        if self.grid == "RECTILINEAR_GRID":
            axes = [self.axes.get(axis, np.empty(0)) for axis in "XYZ"]
            if [len(axis) for axis in axes] != shape:
                raise InputError(f"{self.where}: has not the coordinates that DIMENSIONS {shape} says: truncated")
            return axes
        origin = self.lattice.get("ORIGIN", [0.0] * 3)
        spacing = self.lattice.get("SPACING") or self.lattice.get("ASPECT_RATIO") or [1.0] * 3
        return [o + s * np.arange(n) for o, s, n in zip(origin, spacing, shape, strict=True)]

    def _word(self, words: list[str], i: int) -> str:
        if len(words) <= i:
            raise InputError(f"{self.where}: has the line {' '.join(words)[:60]!r}, wanted {i + 1} words or more")
        return words[i]

    def _count(self, words: list[str], i: int) -> int:
        return whole_number(self._word(words, i), words[0][:40], self.where)

    def _float(self, words: list[str], i: int) -> float:
        word = self._word(words, i)
        try:
            return float(word)
        except ValueError:
            raise InputError(f"{self.where}: {words[0][:40]} has {word[:40]!r}, wanted a number") from None


def _split_counted(numbers: np.ndarray, count: int, section: str, where: object) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and points of ``k p1 .. pk  k p1 .. pk ..``."""
    wrong = InputError(f"{where}: {section} does not hold {count} cells in {len(numbers)} integers: truncated")
    if count > len(numbers) or (count == 0 and len(numbers)):
        raise wrong
    if count == 0:
        return np.empty(0, np.int64), numbers
    width = len(numbers) // count
    if width * count == len(numbers) and np.all(numbers[::width] == width - 1):  # all of one size
        return np.full(count, width - 1), numbers.reshape(count, width)[:, 1:].reshape(-1)
    heads, position, counts = [], 0, numbers.tolist()
    for _ in range(count):
        if position >= len(counts) or counts[position] < 0:
            raise wrong
        heads.append(position)
        position += counts[position] + 1
    if position != len(counts):
        raise wrong
    return numbers[heads].astype(np.int64), np.delete(numbers, heads)


def _lattice_points(axes: list[np.ndarray]) -> np.ndarray:
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.stack([axis.reshape(-1, order="F") for axis in (x, y, z)], axis=1).astype(np.float64)  # x fastest


def _lattice_cells(shape: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Types, offsets and connectivity of the quads or hexahedra of a grid; no cells for grids of lower dimension."""
    extended = [n for n in shape if n > 1]
    none = np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64)
    if len(extended) < 2 or math.prod(shape) == 0:
        return none
    number = np.arange(math.prod(shape)).reshape(extended, order="F")
    low, high = slice(None, -1), slice(1, None)
    quad = [(low, low), (high, low), (high, high), (low, high)]
    corners = quad if len(extended) == 2 else [(*q, low) for q in quad] + [(*q, high) for q in quad]
    connectivity = np.stack([number[corner].reshape(-1, order="F") for corner in corners], axis=1)
    types = np.full(len(connectivity), 9 if len(extended) == 2 else 12)
    return types, np.arange(len(types) + 1) * len(corners), connectivity.reshape(-1)


def write_vtk(file: BinaryIO, mesh: Mesh, where: object) -> None:
    """Write a binary unstructured grid, version 3.0; raises ``InputError`` for cells that VTK does not have."""
    types, offsets, connectivity = vtk_cells(mesh.cells, where)
    if len(mesh.points) > np.iinfo(np.int32).max or len(connectivity) + len(types) > np.iinfo(np.int32).max:
        raise InputError(f"{where}: legacy VTK counts to {np.iinfo(np.int32).max}, the mesh is larger; wanted .vtu")
    file.write(b"# vtk DataFile Version 3.0\npointcept_bsa\nBINARY\nDATASET UNSTRUCTURED_GRID\n")
    _write_fields(file, mesh.field_data, "")
    _write_numbers(file, f"POINTS {len(mesh.points)} double", mesh.points)
    if len(types):
        counted = np.insert(connectivity, offsets[:-1], np.diff(offsets)).astype(np.int32)
        _write_numbers(file, f"CELLS {len(types)} {len(counted)}", counted)
        _write_numbers(file, f"CELL_TYPES {len(types)}", types.astype(np.int32))
    _write_fields(file, mesh.point_data, f"POINT_DATA {len(mesh.points)}\n")
    _write_fields(file, mesh.cell_data, f"CELL_DATA {len(types)}\n")


def _write_fields(file: BinaryIO, fields: Fields, head: str) -> None:
    if not fields:
        return
    file.write(f"{head}FIELD FieldData {len(fields)}\n".encode())
    for name, values in fields.items():
        if values.dtype == np.float16:
            values = values.astype(np.float32)
        rows = values.shape[0] if values.ndim else 1
        columns = math.prod(values.shape[1:])
        kind = NAMES[values.dtype.str[1:]]
        _write_numbers(file, f"{quote(name, safe='')} {columns} {rows} {kind}", values)


def _write_numbers(file: BinaryIO, head: str, values: np.ndarray) -> None:
    file.write(f"{head}\n".encode())
    file.write(np.ascontiguousarray(values).astype(values.dtype.newbyteorder(">")).tobytes())
    file.write(b"\n")
