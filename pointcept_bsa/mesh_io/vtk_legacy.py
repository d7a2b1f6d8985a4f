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
from pointcept_bsa.mesh_io.cells import POLY_LINE, POLY_VERTEX, POLYGON, STRIP, sort_cells, vtk_cells
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
TEXTS = ("string", "utf8_string", "variant")
CELL_SECTIONS = {"VERTICES": POLY_VERTEX, "LINES": POLY_LINE, "POLYGONS": POLYGON, "TRIANGLE_STRIPS": STRIP}
COLUMNS = {"VECTORS": 3, "NORMALS": 3, "TENSORS": 9, "TENSORS6": 6, "GLOBAL_IDS": 1, "PEDIGREE_IDS": 1, "EDGE_FLAGS": 1}
ATTRIBUTES = ("LOOKUP_TABLE", "COLOR_SCALARS", "SCALARS", "TEXTURE_COORDINATES", *COLUMNS)
SECTIONS: dict[str, tuple[str, ...]] = {"CELLS": ("UNSTRUCTURED_GRID",), "CELL_TYPES": ("UNSTRUCTURED_GRID",)}
SECTIONS |= dict.fromkeys(CELL_SECTIONS, ("POLYDATA",))
SECTIONS["POINTS"] = ("UNSTRUCTURED_GRID", "POLYDATA", "STRUCTURED_GRID")
GRIDS = ("UNSTRUCTURED_GRID", "POLYDATA", "STRUCTURED_GRID", "STRUCTURED_POINTS", "RECTILINEAR_GRID")


def read_vtk(path: Path) -> Mesh:
    """Raises ``InputError``: not a whole legacy VTK file of a known kind."""
    return LegacyReader(Source(read_file(path, "a legacy VTK file"), path)).read()


class LegacyReader:
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
        self.left_out: list[str] = []
        self.active, self.rows = "", 0

    def read(self) -> Mesh:
        self.read_sections()
        points, types, offsets, connectivity = self._assembled()
        for kind, count in (("POINT_DATA", len(points)), ("CELL_DATA", len(types))):
            for name, values in self.fields[kind].items():
                if len(values) != count:
                    raise InputError(f"{self.where}: {kind} {name!r} has {len(values)} rows, wanted {count}")
        cells, order, left_out = sort_cells(types, offsets, connectivity, self.where)
        cell_data = {name: values[order] for name, values in self.fields["CELL_DATA"].items()}
        return Mesh(points, cells, self.fields["POINT_DATA"], cell_data, self.fields[""], (*left_out, *self.left_out))

    def read_sections(self) -> None:
        """Read the file to its end."""
        self._read_head()
        while (section := self.source.word()) is not None:
            self._read_section(section.upper())

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
        self.source.rest_of_line()  # the title
        encoding = (self.source.word() or "").upper()
        if encoding not in ("ASCII", "BINARY"):
            raise InputError(f"{self.where}: is written as {encoding[:20]!r}, wanted ASCII or BINARY")
        self.binary = encoding == "BINARY"

    def _read_section(self, section: str) -> None:
        if section == "METADATA":
            self._skip_metadata()
        elif section == "DATASET":
            self.grid = self._word(section).upper()
            if self.grid not in GRIDS:
                raise InputError(f"{self.where}: holds a {self.grid[:40]!r}, wanted one of {list(GRIDS)}")
        elif section in ("POINT_DATA", "CELL_DATA"):
            self.active, self.rows = section, self._count(section)
        elif self.active:
            self._read_attribute(section)
        elif section == "FIELD":
            self._read_field(None)
        else:
            self._read_geometry(section)

    def _read_geometry(self, section: str) -> None:
        if section in SECTIONS and self.grid not in SECTIONS[section]:
            raise InputError(
                f"{self.where}: has a section {section}, which a {self.grid or 'file without DATASET'} has not"
            )
        if section == "POINTS":
            count = self._count(section)
            self.points = self._numbers(3 * count, self._word(section), section).reshape(-1, 3)
        elif section in CELL_SECTIONS:
            sizes, connectivity = self._read_cells(section)
            self.cells.append((np.full(len(sizes), CELL_SECTIONS[section]), sizes, connectivity))
        elif section == "CELLS":
            self.unstructured = self._read_cells(section)
        elif section == "CELL_TYPES":
            self.types = self._numbers(self._count(section), "int", section)
        elif section == "DIMENSIONS":
            self.dimensions = [self._count(section) for _ in range(3)]
        elif section in ("ORIGIN", "SPACING", "ASPECT_RATIO"):
            self.lattice[section] = [self._float(section) for _ in range(3)]
        elif section in ("X_COORDINATES", "Y_COORDINATES", "Z_COORDINATES"):
            count = self._count(section)
            self.axes[section[0]] = self._numbers(count, self._word(section), section)
        else:
            raise InputError(f"{self.where}: has a section {section[:40]!r}, which is not known here")

    def _read_cells(self, section: str) -> tuple[np.ndarray, np.ndarray]:
        """Sizes of the cells and their points, of ``<section> <cells> <integers>`` or of version 5's two arrays."""
        count, size = self._count(section), self._count(section)
        if self.version >= 5 and count:
            offsets = self._numbers(count, self._array_type("OFFSETS"), "OFFSETS").astype(np.int64)
            connectivity = self._numbers(size, self._array_type("CONNECTIVITY"), "CONNECTIVITY")
            sizes = np.diff(offsets)
            if np.any(sizes < 0) or offsets[0] != 0 or offsets[-1] != size:
                raise InputError(f"{self.where}: offsets of {section} do not rise from 0 to {size}")
            return sizes, connectivity
        return _split_counted(self._numbers(size, "int", section), count, section, self.where)

    def _array_type(self, name: str) -> str:
        word = self._word(name)
        if word.upper() != name:
            raise InputError(f"{self.where}: has {word[:40]!r}, wanted '{name} <type>'")
        return self._word(name)

    def _read_attribute(self, section: str) -> None:
        if section == "FIELD":
            self._read_field(self.rows)
            return
        if section not in ATTRIBUTES:
            raise InputError(f"{self.where}: has an attribute {section[:40]!r}, which is not known here")
        name = unquote(self._word(section))
        color = "unsigned_char" if self.binary else "float"
        if section == "LOOKUP_TABLE":
            self._numbers(4 * self._count(section), color, section)
        elif section == "COLOR_SCALARS":
            values = self._columns(self.rows, self._count(section), color, section)
            if values is not None and not self.binary:  # text has the 0 .. 255 of binary files as 0 .. 1
                values = np.rint(255 * np.nan_to_num(values.clip(0, 1))).astype(np.uint8)
            self._keep(self.active, name, values)
        elif section == "SCALARS":
            kind = self._word(section)
            columns = 1 if self._line_has_ended() else self._count(section)
            if (self.source.next_word() or "").upper() == "LOOKUP_TABLE":  # the line may be left out
                self.source.word()
                self._word(section)
            self._keep(self.active, name, self._columns(self.rows, columns, kind, section))
        else:
            columns = self._count(section) if section == "TEXTURE_COORDINATES" else COLUMNS[section]
            self._keep(self.active, name, self._columns(self.rows, columns, self._word(section), section))

    def _line_has_ended(self) -> bool:
        start = self.source.position
        rest = self.source.rest_of_line()
        self.source.position = start
        return not rest.strip() or rest.split()[0].upper() == b"LOOKUP_TABLE"

    def _read_field(self, rows: int | None) -> None:
        self._word("FIELD")
        for _ in range(self._count("FIELD")):
            name = self._word("FIELD")
            while name.upper() == "METADATA":
                self._skip_metadata()
                name = self._word("FIELD")
            if name == "NULL_ARRAY":
                continue
            what = f"field {name[:40]!r}"
            columns, length = self._count(what), self._count(what)
            if rows is not None and length != rows:
                raise InputError(f"{self.where}: {what} has {length} rows, wanted {rows}")
            self._keep(self.active, unquote(name), self._columns(length, columns, self._word(what), what))

    def _keep(self, group: str, name: str, values: np.ndarray | None) -> None:
        if values is None:
            self.left_out.append(name)
        else:
            self.fields[group][name] = values

    def _skip_metadata(self) -> None:
        self.source.rest_of_line()
        while self.source.line():
            pass

    def _columns(self, rows: int, columns: int, kind: str, what: str) -> np.ndarray | None:
        """Rows of numbers; None for texts, which are passed over."""
        if columns < 1:
            raise InputError(f"{self.where}: {what} has {columns} columns, wanted at least 1")
        if kind.lower() in TEXTS:
            self._skip_texts(rows * columns, kind.lower(), what)
            return None
        values = self._numbers(rows * columns, kind, what)
        return values if columns == 1 else values.reshape(rows, columns)

    def _skip_texts(self, count: int, kind: str, what: str) -> None:
        """Variants are a number and a word each; strings a line each, or in binary a length and as many bytes."""
        self.source.rest_of_line()
        if count > self.source.rest + 1:
            raise InputError(f"{self.where}: announces {count} texts of {what}, {self.source.rest} bytes are left")
        if kind == "variant":
            self.source.words(2 * count, what)
            return
        for _ in range(count):
            if not self.binary:
                if self.source.line() is None:
                    raise InputError(f"{self.where}: ends within {what}: truncated")
                continue
            start = self.source.position
            self.source.skip(1, what)
            width = (8, 4, 2, 1)[self.source.data[start] >> 6]  # the upper two bits: of how many bytes the length is
            self.source.skip(width - 1, what)
            length = int.from_bytes(self.source.data[start : start + width], "big")
            self.source.skip(length & ((1 << (8 * width - 2)) - 1), what)

    def _numbers(self, count: int, kind: str, what: str) -> np.ndarray:
        kind = kind.lower()
        if kind not in TYPES and kind != "bit":
            raise InputError(f"{self.where}: {what} is of type {kind[:40]!r}, wanted one of {[*TYPES, 'bit']}")
        dtype = np.dtype(TYPES.get(kind, "u1"))
        if not self.binary:
            return self.source.text(count, dtype, what)
        self.source.rest_of_line()
        if kind == "bit":
            return np.unpackbits(self.source.binary(-(-count // 8), dtype, what), count=count)
        return self.source.binary(count, dtype.newbyteorder(">"), what)

    def _assembled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Points, types, offsets and connectivity of whatever kind of grid it was."""
        if self.grid in ("STRUCTURED_GRID", "STRUCTURED_POINTS", "RECTILINEAR_GRID"):
            return self._structured()
        if self.points is None:
            raise InputError(f"{self.where}: has no section POINTS: truncated, or no mesh")
        order = list(CELL_SECTIONS.values())  # that of the cell data, whichever section came first
        parts = sorted(self.cells, key=lambda part: order.index(part[0][0]) if len(part[0]) else 0)
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

    def _word(self, what: str) -> str:
        word = self.source.word()
        if word is None:
            raise InputError(f"{self.where}: ends within {what[:60]}: truncated")
        return word

    def _count(self, what: str) -> int:
        return whole_number(self._word(what), what[:60], self.where)

    def _float(self, what: str) -> float:
        word = self._word(what)
        try:
            return float(word)
        except ValueError:
            raise InputError(f"{self.where}: {what[:40]} has {word[:40]!r}, wanted a number") from None


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
    _write_fields(file, mesh.field_data, "", where)
    _write_numbers(file, f"POINTS {len(mesh.points)} double", mesh.points)
    if len(types):
        counted = np.insert(connectivity, offsets[:-1], np.diff(offsets)).astype(np.int32)
        _write_numbers(file, f"CELLS {len(types)} {len(counted)}", counted)
        _write_numbers(file, f"CELL_TYPES {len(types)}", types.astype(np.int32))
    _write_fields(file, mesh.point_data, f"POINT_DATA {len(mesh.points)}\n", where)
    _write_fields(file, mesh.cell_data, f"CELL_DATA {len(types)}\n", where)


def _write_fields(file: BinaryIO, fields: Fields, head: str, where: object) -> None:
    if not fields:
        return
    file.write(f"{head}FIELD FieldData {len(fields)}\n".encode())
    for name, values in fields.items():
        if not name or math.prod(values.shape[1:]) == 0:
            raise InputError(f"{where}: field {name!r} has shape {values.shape}, wanted a name and columns")
        rows = values.shape[0] if values.ndim else 1
        columns = math.prod(values.shape[1:])
        kind = NAMES[values.dtype.str[1:]]
        _write_numbers(file, f"{quote(name, safe='')} {columns} {rows} {kind}", values)


def _write_numbers(file: BinaryIO, head: str, values: np.ndarray) -> None:
    file.write(f"{head}\n".encode())
    file.write(np.ascontiguousarray(values).astype(values.dtype.newbyteorder(">")).tobytes())
    file.write(b"\n")
