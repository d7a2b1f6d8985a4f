"""Formats that VTK reads and this package does not: through pyvista, where it is installed (the extra ``[viz]``).

These libraries may crash on a damaged file, which the package's own readers do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.cells import sort_cells
from pointcept_bsa.mesh_io.merge import merge_meshes
from pointcept_bsa.mesh_io.mesh import Fields, Mesh, checked_mesh

MESHES = (".inp", ".msh", ".obj", ".off", ".vti", ".vtr", ".vts")
BLOCKS = (".case", ".cgns", ".foam", ".xdmf")  # are put together from blocks, and may have many times
SUFFIXES = (*MESHES, *BLOCKS)
INSIDE = "internalMesh"  # of OpenFOAM, whose patches repeat points of it


def read_through_pyvista(path: Path, how: str) -> Mesh:
    """One mesh of all blocks, at the last of several times, which is kept as ``TimeValue`` of ``field_data``.

    Of OpenFOAM the mesh inside without its patches, of a series in ``.xdmf`` the first grid, beside which many writers
    leave the bare mesh: ``left_out`` names the others.

    Args:
        how: how to convert the file, for the error where there is no pyvista.

    Raises:
        InputError: no pyvista, no such file, a file that it cannot read.
    """
    try:
        import pyvista
    except ImportError as error:
        raise InputError(f"{path}: is read through pyvista, which is not installed (extra [viz]){how}") from error
    if not path.is_file():
        raise InputError(f"{path}: is no file, wanted one")
    try:
        with pyvista.VtkErrorCatcher() as caught, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what VTK says is caught, too
            data, time, left_out = _read(pyvista, path)
        parts = [_mesh(block, path) for block in _blocks(data)]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: pyvista cannot read it ({_one_line(error)})") from error
    errors = [event for event in caught.events if str(event.kind).upper() == "ERROR"]
    if errors or not sum(len(part.points) for part in parts):
        raise InputError(f"{path}: pyvista cannot read it ({_one_line(errors[0].alert) if errors else 'no points'})")
    mesh = merge_meshes(parts, path)
    if time is not None:
        mesh.field_data.setdefault("TimeValue", np.array([time]))
    return replace(mesh, left_out=(*mesh.left_out, *left_out))


def _read(pyvista: Any, path: Path) -> tuple[Any, float | None, list[str]]:
    """What is in the file at its last time, that time, and names of blocks that are left out."""
    suffix = path.suffix.lower()
    if suffix not in BLOCKS:
        return pyvista.read(path), None, []
    try:
        reader = pyvista.get_reader(str(path))
    except TypeError:  # of pyvista's for an .xdmf file without times
        return pyvista.read_meshio(path), None, []
    times = list(getattr(reader, "time_values", None) or [])
    if times:
        reader.set_active_time_value(times[-1])
    data, time = reader.read(), float(times[-1]) if times else None
    names = data.keys() if hasattr(data, "n_blocks") else []
    chosen = INSIDE if suffix == ".foam" else names[0] if suffix == ".xdmf" and names and times else None
    if chosen not in names:
        return data, time, []
    return data[chosen], time, [f"block {name}" for name in names if name != chosen]


def _blocks(data: Any) -> Iterator[Any]:
    """The blocks of blocks, those that are there."""
    if not hasattr(data, "n_blocks"):
        yield data
        return
    for block in data:
        if block is not None:
            yield from _blocks(block)


def _mesh(block: Any, where: Path) -> Mesh:
    grid = block.cast_to_unstructured_grid()
    left_out: list[str] = []
    offsets = grid.cell_offsets if hasattr(grid, "cell_offsets") else grid.offset  # the name before pyvista 0.48
    types, connectivity = np.asarray(grid.celltypes), np.asarray(grid.cell_connectivity)
    cells, order, shapeless = sort_cells(types, np.asarray(offsets), connectivity, where)
    of_cells = {name: values[order] for name, values in _numbers(grid.cell_data, left_out).items()}
    point_data, field_data = _numbers(grid.point_data, left_out), _numbers(grid.field_data, left_out)
    points = np.asarray(grid.points, np.float64)
    return checked_mesh(Mesh(points, cells, point_data, of_cells, field_data, (*shapeless, *left_out)), where)


def _numbers(data: Any, left_out: list[str]) -> Fields:
    found = {}
    for name in data.keys():
        values = np.array(data[name])
        if values.dtype.kind in "fiub":
            found[name] = values
        else:
            left_out.append(name)
    return found


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
