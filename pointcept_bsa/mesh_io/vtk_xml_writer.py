"""Writing ``.vtu`` and ``.vtp``: appended raw little-endian bytes, not packed."""

from __future__ import annotations

import re
from typing import BinaryIO
from xml.sax.saxutils import quoteattr

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.cells import POLY_LINE, POLY_VERTEX, POLYGON, vtk_cells
from pointcept_bsa.mesh_io.mesh import Fields, Mesh
from pointcept_bsa.mesh_io.vtk_xml import SURFACE_CELLS, TYPES

UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0
NAMES = {numpy_type: name for name, numpy_type in TYPES.items()}
SECTION_OF = {1: POLY_VERTEX, 3: POLY_LINE, 5: POLYGON, 9: POLYGON} | {n: n for n in SURFACE_CELLS.values()}


class _Appended:
    """Arrays collected for the end of the file."""

    def __init__(self, where: object) -> None:
        self.where = where
        self.blocks: list[bytes] = []
        self.offset = 0

    def element(self, name: str, values: np.ndarray, tuples: bool = False) -> str:
        """Return the element that points to ``values``."""
        if UNWRITABLE.search(name) or not name or 0 in values.shape[1:]:
            raise InputError(
                f"{self.where}: field {name!r} has shape {values.shape}, wanted a printable name and columns"
            )
        little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
        rows = values.shape[0] if values.ndim else 1
        columns = f' NumberOfComponents="{int(np.prod(values.shape[1:]))}"' if values.ndim > 1 else ""
        columns += f' NumberOfTuples="{rows}"' if tuples else ""
        text = f"<DataArray type={quoteattr(NAMES[values.dtype.str[1:]])} Name={quoteattr(name)}{columns}"
        text += f' format="appended" offset="{self.offset}"/>\n'
        self.blocks += [little.nbytes.to_bytes(8, "little"), little.tobytes()]
        self.offset += 8 + little.nbytes
        return text

    def section(self, tag: str, fields: Fields, tuples: bool = False) -> str:
        return f"<{tag}>\n{''.join(self.element(n, v, tuples) for n, v in fields.items())}</{tag}>\n"


def write_vtu(file: BinaryIO, mesh: Mesh, where: object) -> None:
    """Write an unstructured grid; raises ``InputError`` for cells that VTK does not have."""
    types, offsets, connectivity = vtk_cells(mesh.cells, where)
    appended = _Appended(where)
    cells = {"connectivity": connectivity, "offsets": offsets[1:], "types": types.astype(np.uint8)}
    piece = f'<Piece NumberOfPoints="{len(mesh.points)}" NumberOfCells="{len(types)}">\n'
    piece += appended.section("Cells", cells)
    _write(file, "UnstructuredGrid", piece, mesh, appended, mesh.cell_data)


def write_vtp(file: BinaryIO, mesh: Mesh, where: object) -> None:
    """Write points, lines and polygons.

    Raises:
        InputError: other cells.
    """
    types, offsets, connectivity = vtk_cells(mesh.cells, where)
    others = [number for number in np.unique(types).tolist() if number not in SECTION_OF]
    if others:
        raise InputError(
            f"{where}: .vtp holds points, lines and polygons, the mesh has {list(mesh.cells)}; wanted .vtu"
        )
    kinds = np.array([SECTION_OF[number] for number in types.tolist()], np.int64)
    order = np.argsort(kinds, kind="stable")  # VTK's order of the cells is that of their kinds: 2, 4, 7
    appended = _Appended(where)
    numbers, sections = "", ""
    for section, kind in SURFACE_CELLS.items():
        members = np.flatnonzero(kinds == kind)
        sizes = np.diff(offsets)[members]
        rows = np.repeat(offsets[:-1][members], sizes) + _within(sizes)
        numbers += f' NumberOf{section}="{len(members)}"'
        sections += appended.section(section, {"connectivity": connectivity[rows], "offsets": np.cumsum(sizes)})
    piece = f'<Piece NumberOfPoints="{len(mesh.points)}"{numbers} NumberOfStrips="0">\n{sections}'
    _write(file, "PolyData", piece, mesh, appended, {name: values[order] for name, values in mesh.cell_data.items()})


def _within(sizes: np.ndarray) -> np.ndarray:
    """0 .. size - 1 for each size, one after the other."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _write(file: BinaryIO, kind: str, piece: str, mesh: Mesh, appended: _Appended, cell_data: Fields) -> None:
    piece += appended.section("Points", {"Points": mesh.points})
    piece += appended.section("PointData", mesh.point_data)
    piece += appended.section("CellData", cell_data)
    fields = appended.section("FieldData", mesh.field_data, tuples=True) if mesh.field_data else ""
    head = '<?xml version="1.0"?>\n'
    head += f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n'
    head += f'<{kind}>\n{fields}{piece}</Piece>\n</{kind}>\n<AppendedData encoding="raw">\n_'
    file.write(head.encode())
    for block in appended.blocks:
        file.write(block)
    file.write(b"\n</AppendedData>\n</VTKFile>\n")
