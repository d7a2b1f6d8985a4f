"""Meshes and point clouds from files and to files: ``.vtk .vtu .vtp .ply .stl .npz .npy .csv``.

Files that name others as the parts of one mesh (``.vtm .pvtu .pvtp``) are read as that mesh, and the formats of
``through_pyvista`` where pyvista is installed.

The readers are by hand on purpose, because files come from anywhere: they run no code from a file, allocate nothing
that the file does not hold, and answer every malformed file with one ``InputError``. Libraries do not: of 240 damaged
files 17 ended the process in pyvista by a segmentation fault, and meshio leaves it by an exit of its own. The tests
compare with both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_file
from pointcept_bsa.mesh_io.conversion import ARRAYS, conversion
from pointcept_bsa.mesh_io.csv_mesh import csv_names, read_csv_mesh, write_csv_mesh
from pointcept_bsa.mesh_io.merge import KINDS, index_parts, read_index
from pointcept_bsa.mesh_io.mesh import Mesh, checked_mesh, left_out_lines
from pointcept_bsa.mesh_io.numpy_mesh import read_npy_mesh, read_npz_mesh, write_npy_mesh, write_npz_mesh
from pointcept_bsa.mesh_io.ply import read_ply, write_ply
from pointcept_bsa.mesh_io.stl import read_stl, write_stl
from pointcept_bsa.mesh_io.through_pyvista import SUFFIXES as FOREIGN
from pointcept_bsa.mesh_io.through_pyvista import read_through_pyvista
from pointcept_bsa.mesh_io.vtk_legacy import read_vtk, write_vtk
from pointcept_bsa.mesh_io.vtk_xml import read_vtp, read_vtu
from pointcept_bsa.mesh_io.vtk_xml_writer import write_vtp, write_vtu

__all__ = [
    "ARRAYS",
    "FOREIGN",
    "INDICES",
    "Mesh",
    "READABLE",
    "SUFFIXES",
    "check_writable",
    "conversion",
    "index_parts",
    "left_out_lines",
    "read_mesh",
    "write_mesh",
]

_READERS: dict[str, Callable[[Path], Mesh]] = {
    ".vtk": read_vtk,
    ".vtu": read_vtu,
    ".vtp": read_vtp,
    ".ply": read_ply,
    ".stl": read_stl,
    ".npz": read_npz_mesh,
    ".npy": read_npy_mesh,
    ".csv": read_csv_mesh,
}
_WRITERS: dict[str, Callable[[BinaryIO, Mesh, object], None]] = {
    ".vtk": write_vtk,
    ".vtu": write_vtu,
    ".vtp": write_vtp,
    ".ply": write_ply,
    ".stl": write_stl,
    ".npz": write_npz_mesh,
    ".npy": write_npy_mesh,
    ".csv": write_csv_mesh,
}
SUFFIXES = tuple(_READERS)  # read and written
INDICES = tuple(KINDS)
READABLE = (*SUFFIXES, *INDICES, *FOREIGN)


def read_mesh(path: str | Path) -> Mesh:
    """Read a mesh file; its suffix says the format.

    Values are those of the file, NaN among them; points are float64, fields keep their type (float16 becomes float32,
    longer floats float64). What a mesh does not hold, such as arrays of text, is named in ``Mesh.left_out``.

    Raises:
        InputError: unknown suffix, missing, malformed or truncated file, something that ``Mesh`` cannot hold, no
            pyvista for a format that is read through it.
    """
    path = Path(path)
    suffix = _suffix(path, READABLE)
    if suffix in INDICES:
        return checked_mesh(read_index(path, read_mesh), path)
    if suffix in FOREIGN:
        return read_through_pyvista(path, conversion(path, READABLE))
    return checked_mesh(_READERS[suffix](path), path)


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh file (binary where the format has it) under a temporary name, then rename it.

    Points of two dimensions get z = 0. ``.vtk .vtu .npz`` hold everything; ``.vtp`` and ``.ply`` surfaces, lines and
    points (``.ply`` no field data); ``.stl`` triangles without fields; ``.npy`` points only;
    ``.csv`` points and their fields, as text.

    Raises:
        InputError: unknown suffix, shapes that do not fit, what the format cannot hold, a folder that is not there.
    """
    path = Path(path)
    write = _WRITERS[_suffix(path, SUFFIXES)]
    checked = checked_mesh(mesh, path)
    write_file(path, lambda file: write(file, checked, path), make_folder=False)


def check_writable(path: str | Path, mesh: Mesh) -> None:
    """Raise the ``InputError`` that ``write_mesh`` would raise for what the format cannot hold; writes nothing."""
    path = Path(path)
    suffix = _suffix(path, SUFFIXES)
    checked = checked_mesh(mesh, path)
    if suffix == ".csv":  # numbers as text take time
        csv_names(checked, path)
    elif suffix != ".npz":  # holds everything, and packing it takes time
        _WRITERS[suffix](cast(BinaryIO, _Nowhere()), checked, path)


class _Nowhere:
    """A file that forgets what is written."""

    def write(self, content: bytes) -> int:
        return len(content)


def _suffix(path: Path, wanted: tuple[str, ...]) -> str:
    suffix = path.suffix.lower()
    if suffix not in wanted:
        raise InputError(f"{path}: has the suffix {suffix!r}, wanted one of {list(wanted)}{conversion(path, wanted)}")
    return suffix
