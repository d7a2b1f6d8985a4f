"""STL: triangles, in text or binary. Corners at the same place become one point; normals are not kept."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.mesh import Mesh
from pointcept_bsa.mesh_io.polygons import triangles_of_polygons
from pointcept_bsa.mesh_io.source import read_file, text_numbers

HEADER = 80
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
CORNER = re.compile(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", re.IGNORECASE)
END = re.compile(rb"\bendfacet\b", re.IGNORECASE)


def read_stl(path: Path) -> Mesh:
    """Raises ``InputError``: not a whole STL file."""
    data = read_file(path, "an STL file")
    corners = _read_binary(data)
    if corners is None:
        corners = _read_text(data, path)
    points, rows = np.unique(corners.astype(np.float64), axis=0, return_inverse=True)
    return Mesh(points, {"triangle": rows.reshape(-1, 3).astype(np.int64)} if len(corners) else {})


def _read_binary(data: bytes) -> np.ndarray | None:
    """Corners (3 F, 3); None if the length of the file is not that of a binary file."""
    if len(data) < HEADER + 4:
        return None
    count = int.from_bytes(data[HEADER : HEADER + 4], "little")
    if count == 0:  # written as a stream whose end was not known
        count = (len(data) - HEADER - 4) // TRIANGLE.itemsize
    if len(data) != HEADER + 4 + count * TRIANGLE.itemsize:
        return None
    return np.frombuffer(data, TRIANGLE, count, HEADER + 4)["corners"].reshape(-1, 3)


def _read_text(data: bytes, path: Path) -> np.ndarray:
    if not data.removeprefix(BOM_UTF8).lstrip()[:5].lower() == b"solid":
        raise InputError(f"{path}: is neither STL text (it does not begin with 'solid') nor a whole binary STL file")
    if b"endsolid" not in data[-1024:].lower():
        raise InputError(f"{path}: does not end with 'endsolid': truncated, or no STL file")
    body = data[data.find(b"\n") + 1 :]
    words = [word for corner in CORNER.findall(body) for word in corner]
    facets = len(END.findall(body))
    if len(words) != 9 * facets:
        raise InputError(f"{path}: has {len(words) // 3} corners in {facets} facets, wanted 3 in each")
    return text_numbers(words, np.dtype(np.float64), "corners", path).reshape(-1, 3)


def write_stl(file: BinaryIO, mesh: Mesh, where: object) -> None:
    """Write a binary STL file; quads and polygons become triangles.

    Raises:
        InputError: fields, other cells, or no cells at all: STL cannot hold them.
    """
    fields = [*mesh.point_data, *mesh.cell_data, *mesh.field_data]
    if fields:
        raise InputError(f"{where}: STL holds no fields, the mesh has {fields}; wanted .vtp, .vtu, .vtk, .ply or .npz")
    others = [name for name in mesh.cells if not re.fullmatch(r"triangle|quad|polygon\d+", name)]
    if others or not mesh.num_cells:
        raise InputError(
            f"{where}: STL holds triangles, the mesh has cells {list(mesh.cells)}, wanted triangles, quads, polygons"
        )
    faces = [triangles_of_polygons(mesh.points, block).reshape(-1, 3) for block in mesh.cells.values()]
    corners = mesh.points[np.concatenate(faces)]  # (F, 3, 3)
    triangles = np.zeros(len(corners), TRIANGLE)
    triangles["corners"] = corners
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    triangles["normal"] = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    file.write(b"pointcept_bsa".ljust(HEADER))
    file.write(len(triangles).to_bytes(4, "little"))
    file.write(triangles.tobytes())
