"""VTK's XML files of unstructured grids (``.vtu``) and surfaces (``.vtp``).

The format: "VTK File Formats", Kitware. Numbers as text, base64 or raw appended bytes, plain or packed by zlib or
lzma or lz4. Several pieces are put together. Arrays of text are passed over.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.cells import POLY_LINE, POLY_VERTEX, POLYGON, STRIP, sort_cells
from pointcept_bsa.mesh_io.mesh import Fields, Mesh
from pointcept_bsa.mesh_io.source import MAX_BYTES, decoded, read_file, text_numbers, whole_number
from pointcept_bsa.mesh_io.vtk_packing import LZMA_RATIO, encoded, unpacked_block, unpacker

TYPES = {
    **{f"Int{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    "Float32": "f4",
    "Float64": "f8",
}
BIT = "Bit"  # eight of them a byte
TEXTS = ("String", "Variant")
SURFACE_CELLS = {"Verts": POLY_VERTEX, "Lines": POLY_LINE, "Polys": POLYGON}  # in the order of the cell data
SECTIONS = SURFACE_CELLS | {"Strips": STRIP}
APPENDED = re.compile(rb"<AppendedData\b[^>]*>\s*_")
Cells = tuple[np.ndarray, np.ndarray, np.ndarray]  # types (F,), sizes (F,), connectivity
NO_CELLS: Cells = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


def read_vtu(path: Path) -> Mesh:
    """Raises ``InputError``: not a whole XML file of an unstructured grid."""
    return _read(path, "UnstructuredGrid", _unstructured_cells)


def read_vtp(path: Path) -> Mesh:
    """Raises ``InputError``: not a whole XML file of a surface."""
    return _read(path, "PolyData", _surface_cells)


def _read(path: Path, kind: str, read_cells: Callable[[_Reader, ElementTree.Element], Cells]) -> Mesh:
    reader = _Reader(path, kind)
    grid = reader.root.find(kind)
    pieces = [] if grid is None else grid.findall("Piece")
    if not pieces:
        raise InputError(f"{path}: has no {kind} with a Piece: truncated, or an index of other files")
    parts = [_read_piece(reader, piece, read_cells) for piece in pieces]
    point_data = _joined([part[2] for part in parts], [len(part[0]) for part in parts], "PointData", path)
    cell_data = _joined([part[3] for part in parts], [len(part[1][0]) for part in parts], "CellData", path)
    points = np.concatenate([part[0] for part in parts])
    starts = np.cumsum([0] + [len(part[0]) for part in parts])
    types = np.concatenate([part[1][0] for part in parts])
    sizes = np.concatenate([part[1][1] for part in parts])
    connectivity = np.concatenate([part[1][2].astype(np.int64) + s for part, s in zip(parts, starts, strict=False)])
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    cells, order, left_out = sort_cells(types, offsets, connectivity, path)
    field_data = reader.fields(grid.find("FieldData") if grid is not None else None, None)
    of_cells = {name: values[order] for name, values in cell_data.items()}
    return Mesh(points, cells, point_data, of_cells, field_data, (*left_out, *dict.fromkeys(reader.left_out)))


def _read_piece(
    reader: _Reader, piece: ElementTree.Element, read_cells: Callable[[_Reader, ElementTree.Element], Cells]
) -> tuple[np.ndarray, Cells, Fields, Fields]:
    num_points = reader.count(piece, "NumberOfPoints")
    points = reader.only_array(piece, "Points", num_points) if num_points else np.empty((0, 3))
    if points.shape != (num_points, 3):
        raise InputError(f"{reader.where}: Points have shape {points.shape}, wanted {(num_points, 3)}")
    cells = read_cells(reader, piece)
    if cells[2].size and not (cells[2].min() >= 0 and cells[2].max() < num_points):
        raise InputError(f"{reader.where}: cells name points {cells[2].min()} to {cells[2].max()} of {num_points}")
    point_data = reader.fields(piece.find("PointData"), num_points)
    return points, cells, point_data, reader.fields(piece.find("CellData"), len(cells[0]))


def _unstructured_cells(reader: _Reader, piece: ElementTree.Element) -> Cells:
    count = reader.count(piece, "NumberOfCells")
    if count == 0:
        return NO_CELLS
    sizes, connectivity = _sizes_and_points(reader, piece, "Cells", count)
    return reader.named_array(piece, "Cells", "types", count), sizes, connectivity


def _surface_cells(reader: _Reader, piece: ElementTree.Element) -> Cells:
    parts = [NO_CELLS]
    for section, number in SECTIONS.items():
        count = reader.count(piece, f"NumberOf{section}")
        if count:
            sizes, points = _sizes_and_points(reader, piece, section, count)  # refuses a count that is not there
            parts.append((np.full(count, number), sizes, points))
    types, sizes, connectivity = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return types, sizes, connectivity


def _sizes_and_points(
    reader: _Reader, piece: ElementTree.Element, section: str, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """VTK's offsets are the ends of the cells."""
    ends = reader.named_array(piece, section, "offsets", count).astype(np.int64)
    sizes = np.diff(ends, prepend=0)
    if np.any(sizes < 0):
        raise InputError(f"{reader.where}: offsets of {section} fall, wanted them to rise")
    return sizes, reader.named_array(piece, section, "connectivity", int(ends[-1]))


def parse_vtk_xml(path: Path, kind: str) -> ElementTree.Element:
    """The root of a VTK file of that kind that has no data of its own. Raises ``InputError``."""
    return parsed_markup(read_file(path, f"a VTK file of a {kind}"), path, kind)


def parsed_markup(text: bytes, path: Path, kind: str) -> ElementTree.Element:
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise InputError(f"{path}: has a document type or entities, which VTK files have not")
    try:
        root = ElementTree.fromstring(_xml_text(text))
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise InputError(f"{path}: is not whole XML ({' '.join(str(error).split())[:80]})") from None
    if root.tag != "VTKFile" or root.get("type") != kind:
        found_kind = f"{root.tag[:40]!r} of type {str(root.get('type'))[:40]!r}"
        raise InputError(f"{path}: is a {found_kind}, wanted a VTKFile of type {kind!r}")
    return root


def _joined(parts: list[Fields], rows: list[int], what: str, where: object) -> Fields:
    """Arrays of all pieces put together; a piece without rows (of a process without cells) has no say."""
    parts = [part for part, count in zip(parts, rows, strict=True) if count] or parts[:1]
    names = list(parts[0])
    for part in parts:
        if list(part) != names or any(part[n].shape[1:] != parts[0][n].shape[1:] for n in names):
            raise InputError(f"{where}: pieces have {what} of different names or columns, wanted the same in all")
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


class _Reader:
    """The arrays of one XML file.

    Raises:
        InputError: no such file.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.where = path
        self.left_out: list[str] = []
        data = read_file(path, f"a VTK file of a {kind}")
        self.appended, text = b"", data
        found = APPENDED.search(data)
        if found is not None:  # what follows may be no XML
            self.appended = data[found.end() :]
            text = data[: found.start()] + b"</VTKFile>"
        self.root = parsed_markup(text, path, kind)
        self.order = ">" if self.root.get("byte_order") == "BigEndian" else "<"
        header = self.root.get("header_type", "UInt32")
        if header not in ("UInt32", "UInt64"):
            raise InputError(f"{path}: has header_type {header[:40]!r}, wanted UInt32 or UInt64")
        self.header = np.dtype(self.order + TYPES[header])
        self.unpack = unpacker(self.root.get("compressor"), path)
        encoding = self.root.find("AppendedData")
        match = re.search(rb"""encoding\s*=\s*["'](\w+)["']""", found.group()) if found is not None else None
        self.appended_raw = encoding is None and match is not None and match.group(1) == b"raw"

    def count(self, piece: ElementTree.Element, name: str) -> int:
        return whole_number(piece.get(name, "0").strip(), name, self.where)

    def only_array(self, piece: ElementTree.Element, section: str, rows: int) -> np.ndarray:
        element = piece.find(f"{section}/DataArray")
        if element is None:
            raise InputError(f"{self.where}: {section} has no DataArray: truncated")
        return self.array(element, rows, section)

    def named_array(self, piece: ElementTree.Element, section: str, name: str, rows: int) -> np.ndarray:
        for element in piece.findall(f"{section}/DataArray"):
            if element.get("Name") == name:
                values = self.array(element, rows, f"{section} {name}")
                if values.ndim != 1 or values.dtype.kind not in "iu":
                    raise InputError(
                        f"{self.where}: {section} {name} is {values.dtype} {values.shape}, wanted integers"
                    )
                return values
        raise InputError(f"{self.where}: {section} has no DataArray {name!r}: truncated")

    def fields(self, section: ElementTree.Element | None, rows: int | None) -> Fields:
        """Name -> values of all arrays of a section; texts and arrays without a name are left out."""
        fields: Fields = {}
        for element in section if section is not None else ():
            name = element.get("Name", "")
            if not name or element.get("type", TEXTS[0]) in TEXTS:
                self.left_out.append(name or "an array without a name")
                continue
            length = self.count(element, "NumberOfTuples") if rows is None else rows
            fields[name] = self.array(element, length, f"field {name[:40]!r}")
        return fields

    def array(self, element: ElementTree.Element, rows: int, what: str) -> np.ndarray:
        """Return (rows,) or (rows, K) numbers.

        Raises:
            InputError: another type, more or fewer numbers.
        """
        kind = element.get("type", "")
        if element.tag not in ("DataArray", "Array") or not (kind in TYPES or kind == BIT):
            raise InputError(f"{self.where}: {what} is of type {kind[:40]!r}, wanted one of {[*TYPES, BIT]}")
        columns = whole_number(element.get("NumberOfComponents", "1").strip(), f"columns of {what}", self.where) or 1
        dtype, count = np.dtype(self.order + TYPES.get(kind, "u1")), rows * columns
        form = element.get("format", "ascii")
        if count == 0:  # whatever is there: some write a length, some nothing
            values = np.empty(0, dtype)
        elif form == "ascii":
            words = _text(element).split()
            if len(words) != count:
                raise InputError(f"{self.where}: {what} has {len(words)} numbers, wanted {count}")
            values = text_numbers([word.encode() for word in words], dtype, what, self.where)
        elif kind == BIT:
            values = np.unpackbits(self._binary(element, form, -(-count // 8), dtype, what), count=count)
        else:
            values = self._binary(element, form, count, dtype, what)
        values = values.astype(dtype.newbyteorder("="))
        return values if columns == 1 else values.reshape(rows, columns)

    def _binary(self, element: ElementTree.Element, form: str, count: int, dtype: np.dtype, what: str) -> np.ndarray:
        if form == "binary":
            data, raw = "".join(_text(element).split()).encode(), False
        elif form == "appended":
            offset = whole_number(element.get("offset", "").strip(), f"offset of {what}", self.where)
            data, raw = self.appended[offset:], self.appended_raw
        else:
            raise InputError(f"{self.where}: {what} has format {form[:40]!r}, wanted ascii, binary or appended")
        wanted = count * dtype.itemsize
        if wanted > min(MAX_BYTES, LZMA_RATIO * len(data)) or (self.unpack is None and wanted > len(data)):
            raise InputError(f"{self.where}: {what} announces {wanted} bytes, {len(data)} are there")
        packed = self.unpack is not None
        content = self._packed(data, raw, wanted, what) if packed else self._plain(data, raw, what)
        if len(content) != wanted:
            raise InputError(f"{self.where}: {what} has {len(content)} bytes, wanted {wanted}")
        return np.frombuffer(content, dtype, count)

    def _plain(self, data: bytes, raw: bool, what: str) -> bytes:
        """A length, then as many bytes; in base64 both together or, where the length is filled up, each for itself."""
        head = self.header.itemsize
        length = int(self._numbers(self._bytes(data, 0, head, raw, what), 1)[0])
        first = data[: encoded(head)]
        if not raw and encoded(head) // 4 * 3 - first.count(b"=") == head:
            return self._bytes(data, encoded(head), length, raw, what)
        return self._bytes(data, 0, head + length, raw, what)[head:]

    def _packed(self, data: bytes, raw: bool, wanted: int, what: str) -> bytes:
        """Number of blocks, size of a block, size of the last one (0: whole), packed sizes; then the blocks."""
        assert self.unpack is not None
        head = self.header.itemsize
        blocks, size, last = (int(n) for n in self._numbers(self._bytes(data, 0, 3 * head, raw, what), 3))
        if blocks == 0:
            return b""
        if blocks > len(data) or (blocks - 1) * size + (last or size) != wanted:
            raise InputError(f"{self.where}: {what} announces {blocks} blocks of {size} bytes, wanted {wanted} in all")
        length = (3 + blocks) * head
        packed = [int(n) for n in self._numbers(self._bytes(data, 0, length, raw, what)[3 * head :], blocks)]
        start = length if raw else encoded(length)
        content = self._bytes(data, start, sum(packed), raw, what)
        parts, position = [], 0
        for number, packed_size in enumerate(packed):
            block = last if number == blocks - 1 and last else size
            packed_block = content[position : position + packed_size]
            parts.append(unpacked_block(self.unpack, packed_block, block, what, self.where))
            position += packed_size
        return b"".join(parts)

    def _numbers(self, content: bytes, count: int) -> np.ndarray:
        return np.frombuffer(content, self.header, count)

    def _bytes(self, data: bytes, start: int, length: int, raw: bool, what: str) -> bytes:
        """``length`` bytes that begin at ``start``, where those of base64 are still to be decoded."""
        end = start + (length if raw else encoded(length))
        if end > len(data):
            raise InputError(f"{self.where}: {what} announces {length} bytes, it ends before: truncated")
        if raw:
            return data[start:end]
        try:
            content = base64.b64decode(data[start:end], validate=True)
        except binascii.Error as error:
            raise InputError(f"{self.where}: {what} is not base64 ({error})") from None
        if len(content) < length:
            raise InputError(f"{self.where}: {what} announces {length} bytes, it has {len(content)}")
        return content[:length]


def _text(element: ElementTree.Element) -> str:
    """The text of an array, without that of its information keys."""
    return "".join([element.text or "", *(child.tail or "" for child in element)])


def _xml_text(content: bytes) -> bytes | str:
    """The content, as Latin-1 where it is not UTF-8 and says nothing else."""
    head = content[:200]
    if b"encoding" in head.split(b"?>")[0] or head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content
    return decoded(content)
