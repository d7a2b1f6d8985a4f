"""Several meshes as one: the blocks and pieces that a file names, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.mesh import Fields, Mesh
from pointcept_bsa.mesh_io.source import MAX_BYTES
from pointcept_bsa.mesh_io.vtk_xml import parse_vtk_xml

GHOSTS = "vtkGhostType"
CELL_GHOSTS = 1 | 8 | 32  # of another process, refined elsewhere, hidden
POINT_GHOSTS = 1 | 2  # of another process, hidden


def merge_meshes(parts: Sequence[Mesh], where: object) -> Mesh:
    """One mesh of all points and cells; points at the same place stay two.

    Fields that not all parts have, or with other columns, and data of the mesh as a whole that differ from part to part
    are named in ``left_out``. Parts without points (or cells) have no say in that. Cells that VTK marks as another
    part's (``vtkGhostType``) are dropped, and so are points that none but they need.

    Raises:
        InputError: no part has a point.
    """
    parts = [without_ghosts(part) for part in parts]
    parts = [part for part in parts if len(part.points)]
    if not parts:
        raise InputError(f"{where}: none of its parts has points, wanted at least one")
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    kinds = dict.fromkeys(kind for part in parts for kind in part.cells)
    cells, rows = {}, []
    first_cell = np.cumsum([0, *(part.num_cells for part in parts)])
    for kind in kinds:
        blocks = []
        for number, part in enumerate(parts):
            position = first_cell[number]
            for own, block in part.cells.items():
                if own == kind:
                    blocks.append(block + starts[number])
                    rows.append(np.arange(position, position + len(block)))
                position += len(block)
        cells[kind] = np.concatenate(blocks)
    order = np.concatenate([np.empty(0, np.int64), *rows])
    left_out = dict.fromkeys(name for part in parts for name in part.left_out)
    point_data = _common([part.point_data for part in parts], left_out)
    cell_data = _common([part.cell_data for part in parts if part.num_cells], left_out)
    field_data = _equal([part.field_data for part in parts], left_out)
    of_cells = {name: values[order] for name, values in cell_data.items()}
    points = np.concatenate([part.points for part in parts])
    return Mesh(points, cells, point_data, of_cells, field_data, tuple(left_out))


def _equal(parts: Sequence[Fields], left_out: dict[str, None]) -> Fields:
    """Data of whole parts that are the same in all parts that have them."""
    found = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        first, *others = [part[name] for part in parts if name in part]
        if all(np.array_equal(first, other) for other in others):
            found[name] = first
        else:
            left_out[f"{name} (differs from part to part)"] = None
    return found


def _common(parts: Sequence[Fields], left_out: dict[str, None]) -> Fields:
    """Fields that all parts have with the same columns; the names of the others are added to ``left_out``."""
    found = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        arrays = [part[name] for part in parts if name in part]
        if len(arrays) < len(parts) or len({values.shape[1:] for values in arrays}) > 1:
            left_out[f"{name} (not in all parts)"] = None
            continue
        found[name] = np.concatenate(arrays)
    return found


def without_ghosts(mesh: Mesh) -> Mesh:
    """The mesh without what VTK marks as another part's; the marks go, too."""
    if GHOSTS not in mesh.point_data and GHOSTS not in mesh.cell_data:
        return mesh
    kept = _unmarked(mesh.cell_data, mesh.num_cells, CELL_GHOSTS)
    ends = np.cumsum([0, *(len(block) for block in mesh.cells.values())])
    cells = {
        kind: block[kept[start:end]]
        for (kind, block), start, end in zip(mesh.cells.items(), ends[:-1], ends[1:], strict=True)
    }
    needed = _unmarked(mesh.point_data, len(mesh.points), POINT_GHOSTS)
    if not kept.all():
        of_all, of_kept = (np.zeros(len(mesh.points), bool) for _ in range(2))
        for found, blocks in ((of_all, mesh.cells), (of_kept, cells)):
            for block in blocks.values():
                found[block] = True
        needed &= of_kept | ~of_all
    for block in cells.values():
        needed[block] = True
    number = np.cumsum(needed) - 1
    return Mesh(
        mesh.points[needed],
        {kind: number[block] for kind, block in cells.items() if len(block)},
        {name: values[needed] for name, values in mesh.point_data.items() if name != GHOSTS},
        {name: values[kept] for name, values in mesh.cell_data.items() if name != GHOSTS},
        mesh.field_data,
        mesh.left_out,
    )


def _unmarked(fields: Fields, count: int, bits: int) -> np.ndarray:
    marks = fields.get(GHOSTS)
    if marks is None or marks.dtype.kind not in "iu":
        return np.ones(count, bool)
    return (marks.reshape(count, -1)[:, 0].astype(np.int64) & bits) == 0


# VTK's files that name other files as the parts of one mesh: ``.vtm`` (blocks), ``.pvtu`` and ``.pvtp`` (pieces).

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
