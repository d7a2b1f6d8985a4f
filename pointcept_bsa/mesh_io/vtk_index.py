"""VTK's files that name other files as the parts of one mesh: ``.vtm`` (blocks), ``.pvtu`` and ``.pvtp`` (pieces)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.merge import merge_meshes
from pointcept_bsa.mesh_io.mesh import Mesh
from pointcept_bsa.mesh_io.source import MAX_BYTES
from pointcept_bsa.mesh_io.vtk_xml import parse_vtk_xml

KINDS = {".vtm": "vtkMultiBlockDataSet", ".pvtu": "PUnstructuredGrid", ".pvtp": "PPolyData"}
MAX_PARTS = 100_000


def index_parts(path: Path) -> list[Path]:
    """The files that an index names, in its order; empty blocks have none.

    Raises:
        InputError: not a whole XML file of an index.
    """
    root = parse_vtk_xml(path, KINDS[path.suffix.lower()])
    names = (element.get("Source" if element.tag == "Piece" else "file") for element in root.iter())
    parts = [path.parent / name for name in names if name]
    if len(parts) > MAX_PARTS:
        raise InputError(f"{path}: names {len(parts)} files, wanted at most {MAX_PARTS}")
    return parts


def read_index(path: Path, read: Callable[[Path], Mesh]) -> Mesh:
    """One mesh of all parts, see ``merge_meshes``. ``read`` reads a part.

    Raises:
        InputError: no parts, one that cannot be read or is an index of the same kind, more bytes than a file may have.
    """
    parts = index_parts(path)
    if not parts:
        raise InputError(f"{path}: names no files, wanted the parts of a mesh")
    size = 0
    for part in parts:
        if part.suffix.lower() == path.suffix.lower():
            raise InputError(f"{path}: names {part.name} as a part, an index itself, wanted files of meshes")
        size += part.stat().st_size if part.is_file() else 0
        if size > MAX_BYTES:
            raise InputError(f"{path}: names files of more than {MAX_BYTES} bytes")
    return merge_meshes([read(part) for part in parts], path)
