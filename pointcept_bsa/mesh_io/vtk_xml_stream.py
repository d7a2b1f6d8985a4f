"""VTK XML files of surfaces and unstructured grids by blocks of rows; see ``streams``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.joined_file import JoinedFile
from pointcept_bsa.mesh_io.source import whole_number
from pointcept_bsa.mesh_io.streams import ArrayStream, CellStream, FieldStreams, MeshStream
from pointcept_bsa.mesh_io.vtk_packing import unpacker
from pointcept_bsa.mesh_io.vtk_xml import SECTIONS, TYPES, parsed_markup
from pointcept_bsa.mesh_io.vtk_xml_scan import scan
from pointcept_bsa.mesh_io.vtk_xml_stored import Coding, StoredArray

ATTRIBUTE = re.compile(rb"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def open_xml_stream(paths: Sequence[Path], kind: str) -> MeshStream:
    """Open a file of one Piece, or the parts of one, whose bytes follow one another.

    Args:
        kind: "PolyData" (its polygons) or "UnstructuredGrid".

    Raises:
        InputError: missing or malformed, several Pieces, arrays written as text.
    """
    file = JoinedFile(paths)
    try:
        return _Opened(file, paths[0], kind).stream()
    except BaseException:
        file.close()
        raise


def _attributes(tag: bytes) -> dict[str, str]:
    found = ATTRIBUTE.findall(tag)
    return {name.decode(): (double or single).decode("utf-8", "replace") for name, double, single in found}


class _Opened:
    def __init__(self, file: JoinedFile, where: Path, kind: str) -> None:
        self.file, self.where, self.kind = file, where, kind
        self.markup = scan(file, where, self._length)
        self.root = parsed_markup(self.markup.text, where, kind)
        self.order, self.coding = self._read_coding(dict(self.root.attrib))
        arrays = [element for element in self.root.iter() if element.tag in ("DataArray", "Array")]
        if len(arrays) != len(self.markup.contents):
            raise InputError(f"{where}: has arrays within arrays or comments, wanted a VTK file as VTK writes it")
        self.contents = dict(zip(map(id, arrays), self.markup.contents, strict=True))

    def stream(self) -> MeshStream:
        pieces = self.root.findall(f"{self.kind}/Piece")
        if len(pieces) != 1:
            raise InputError(f"{self.where}: has {len(pieces)} Pieces, wanted one: truncated, or an index of files")
        piece = pieces[0]
        num_points, section, num_cells = self._count(piece, "NumberOfPoints"), "Cells", 0
        if self.kind == "PolyData":
            section, num_cells = "Polys", self._count(piece, "NumberOfPolys")
            others = [name for name in SECTIONS if name != section and self._count(piece, f"NumberOf{name}")]
            if others:
                raise InputError(f"{self.where}: has {', '.join(others)}, wanted polygons alone")
        else:
            num_cells = self._count(piece, "NumberOfCells")
        points = self._array(self._element(piece, "Points", None), num_points, "Points")
        if points.columns != 3 or points.dtype.kind != "f":
            raise InputError(f"{self.where}: Points are {points.dtype} of {points.columns} columns, wanted 3 of floats")
        cells = self._cells(piece, section, num_cells, num_points) if num_cells else None
        fields = (self._fields(piece, "PointData", num_points), self._fields(piece, "CellData", num_cells))
        return MeshStream(self.where, points, cells, num_cells, *fields, self.file.close)

    def _cells(self, piece: ElementTree.Element, section: str, count: int, num_points: int) -> CellStream:
        ends = self._array(self._element(piece, section, "offsets"), count, f"{section} offsets")
        connectivity = self._array(self._element(piece, section, "connectivity"), None, f"{section} connectivity")
        types = None
        if section == "Cells":
            types = self._array(self._element(piece, section, "types"), count, f"{section} types")
        for array in (ends, connectivity, types):
            if array is not None and (array.columns != 1 or array.dtype.kind not in "iu"):
                raise InputError(f"{self.where}: {section} holds {array.dtype} numbers, wanted integers")
        return CellStream(ends, connectivity, types, num_points, self.where)

    def _fields(self, piece: ElementTree.Element, section: str, rows: int) -> FieldStreams:
        elements = {element.get("Name", ""): element for element in piece.findall(f"{section}/*") if rows}
        return FieldStreams(
            {name: partial(self._array, element, rows, f"field {name[:40]!r}") for name, element in elements.items()}
        )

    def _element(self, piece: ElementTree.Element, section: str, name: str | None) -> ElementTree.Element:
        for element in piece.findall(f"{section}/DataArray"):
            if name is None or element.get("Name") == name:
                return element
        raise InputError(f"{self.where}: {section} has no DataArray {name or ''}: truncated")

    def _array(self, element: ElementTree.Element, rows: int | None, what: str) -> ArrayStream:
        """An array of ``rows`` rows, or of as many as it has."""
        kind = element.get("type", "")
        if kind not in TYPES:
            raise InputError(f"{self.where}: {what} is of type {kind[:40]!r}, wanted one of {list(TYPES)}")
        columns = whole_number(element.get("NumberOfComponents", "1").strip(), f"columns of {what}", self.where) or 1
        dtype = np.dtype(self.order + TYPES[kind])
        stored = self._stored(element, what)
        found, rest = divmod(stored.num_bytes, columns * dtype.itemsize)
        if rest or (rows is not None and found != rows):
            wanted = f"{'whole' if rows is None else rows} rows of {columns} {kind}"
            raise InputError(f"{self.where}: {what} has {stored.num_bytes} bytes, wanted {wanted}")
        return ArrayStream(found, columns, dtype.newbyteorder("="), lambda: stored.open(dtype))

    def _stored(self, element: ElementTree.Element, what: str) -> StoredArray:
        form = element.get("format", "ascii")
        if form == "binary":
            start, end = self.contents[id(element)]
            return StoredArray(
                self.file, start, end=end, in_base64=True, coding=self.coding, what=what, where=self.where
            )
        if form != "appended" or self.markup.appended is None:
            raise InputError(
                f"{self.where}: {what} has format {form[:40]!r}, wanted binary or appended for reading by blocks"
            )
        start, tag = self.markup.appended
        offset = whole_number(element.get("offset", "").strip(), f"offset of {what}", self.where)
        in_base64 = _attributes(tag).get("encoding", "base64") != "raw"
        return StoredArray(
            self.file,
            start + offset,
            end=self.file.size,
            in_base64=in_base64,
            coding=self.coding,
            what=what,
            where=self.where,
        )

    def _count(self, piece: ElementTree.Element, name: str) -> int:
        return whole_number(piece.get(name, "0").strip(), name, self.where)

    def _read_coding(self, attributes: dict[str, str]) -> tuple[str, Coding]:
        order = ">" if attributes.get("byte_order") == "BigEndian" else "<"
        header = attributes.get("header_type", "UInt32")
        if header not in ("UInt32", "UInt64"):
            raise InputError(f"{self.where}: has header_type {header[:40]!r}, wanted UInt32 or UInt64")
        return order, Coding(np.dtype(order + TYPES[header]), unpacker(attributes.get("compressor"), self.where))

    def _length(self, head: bytes, tag: bytes, position: int) -> int:
        """How long the text of an array is that begins at ``position``; 0 where the text does not say it."""
        if _attributes(tag).get("format") != "binary":
            return 0
        root = re.search(rb"""<VTKFile\b(?:[^>"']|"[^"]*"|'[^']*')*>""", head)
        _, coding = self._read_coding(_attributes(root.group() if root else b""))
        if self.file.read(position, 4096).strip().startswith(b"<"):  # empty
            return 0
        stored = StoredArray(
            self.file, position, end=self.file.size, in_base64=True, coding=coding, what="an array", where=self.where
        )
        return stored.stored_end - position
