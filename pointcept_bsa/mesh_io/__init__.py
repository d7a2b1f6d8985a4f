"""Meshes and point clouds from files and to files: ``.vtk .vtu .vtp .ply .stl .npz .npy``.

The readers are this package's own, because files come from anywhere: they run no code from a file, allocate nothing
that the file does not hold, and answer every malformed file with one ``InputError``. The tests compare them with
meshio and VTK.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.atomic import write_file
from pointcept_bsa.mesh_io.mesh import Mesh, checked_mesh
from pointcept_bsa.mesh_io.numpy_mesh import read_npy_mesh, read_npz_mesh, write_npy_mesh, write_npz_mesh
from pointcept_bsa.mesh_io.ply import read_ply, write_ply
from pointcept_bsa.mesh_io.stl import read_stl, write_stl
from pointcept_bsa.mesh_io.vtk_legacy import read_vtk, write_vtk
from pointcept_bsa.mesh_io.vtk_xml import read_vtp, read_vtu
from pointcept_bsa.mesh_io.vtk_xml_writer import write_vtp, write_vtu

__all__ = ["SUFFIXES", "Mesh", "check_writable", "conversion", "read_mesh", "write_mesh"]

_READERS: dict[str, Callable[[Path], Mesh]] = {
    ".vtk": read_vtk,
    ".vtu": read_vtu,
    ".vtp": read_vtp,
    ".ply": read_ply,
    ".stl": read_stl,
    ".npz": read_npz_mesh,
    ".npy": read_npy_mesh,
}
_WRITERS: dict[str, Callable[[BinaryIO, Mesh, object], None]] = {
    ".vtk": write_vtk,
    ".vtu": write_vtu,
    ".vtp": write_vtp,
    ".ply": write_ply,
    ".stl": write_stl,
    ".npz": write_npz_mesh,
    ".npy": write_npy_mesh,
}
SUFFIXES = tuple(_READERS)
# Formats that pyvista (the extra [viz]) reads: as one mesh, or as blocks that are to be put together.
_MESHES = (".inp", ".msh", ".obj", ".off", ".pvtp", ".pvtu", ".vti", ".vtr", ".vts", ".xdmf")
_BLOCKS = (".case", ".cgns", ".foam", ".vtm")


def read_mesh(path: str | Path) -> Mesh:
    """Read a mesh file; its suffix says the format.

    Values are those of the file, NaN among them; points are float64, fields keep their type (float16 becomes float32,
    longer floats float64). What a mesh does not hold, such as arrays of text, is named in ``Mesh.left_out``.

    Raises:
        InputError: unknown suffix, missing, malformed or truncated file, something that ``Mesh`` cannot hold.
    """
    path = Path(path)
    return checked_mesh(_READERS[_suffix(path)](path), path)


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh file (binary where the format has it) under a temporary name, then rename it.

    Points of two dimensions get z = 0. ``.vtk .vtu .npz`` hold everything; ``.vtp`` and ``.ply`` surfaces, lines and
    points (``.ply`` no field data); ``.stl`` triangles without fields; ``.npy`` points only.

    Raises:
        InputError: unknown suffix, shapes that do not fit, what the format cannot hold, a folder that is not there.
    """
    path = Path(path)
    write = _WRITERS[_suffix(path)]
    checked = checked_mesh(mesh, path)
    write_file(path, lambda file: write(file, checked, path), make_folder=False)


def check_writable(path: str | Path, mesh: Mesh) -> None:
    """Raise the ``InputError`` that ``write_mesh`` would raise for what the format cannot hold; writes nothing."""
    path = Path(path)
    suffix = _suffix(path)
    checked = checked_mesh(mesh, path)
    if suffix != ".npz":  # holds everything, and packing it takes time
        _WRITERS[suffix](cast(BinaryIO, _Nowhere()), checked, path)


class _Nowhere:
    """A file that forgets what is written."""

    def write(self, content: bytes) -> int:
        return len(content)


def conversion(path: str | Path) -> str:
    """Return how a file of another format becomes one that is read, or which suffix was meant; "" if unknown."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in _MESHES or suffix in _BLOCKS:
        blocks = ".combine()" if suffix in _BLOCKS else ""
        target = path.with_suffix(".vtk").name  # holds every kind of grid
        return f"; to convert it: python -c \"import pyvista; pyvista.read('{path}'){blocks}.save('{target}')\""
    return nearest(suffix, SUFFIXES)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise InputError(f"{path}: has the suffix {suffix!r}, wanted one of {list(SUFFIXES)}{conversion(path)}")
    return suffix
