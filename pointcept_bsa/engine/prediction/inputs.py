"""From a mesh or cloud to a sample as the network's data set would give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointcept_bsa.engine.prediction.network import Network
from pointcept_bsa.engine.prediction.surface import Surface, outward_surface, point_normals, triangles_of
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.mesh_io import Mesh

FLAT = 1e-9  # of the extent: how far points of a 2-D cloud may lie off their plane


@dataclass(frozen=True)
class Prepared:
    """A sample made of a mesh.

    Attributes:
        sample: ``coord``, ``name`` and the fields the network needs, physical units.
        used: (N,) True for points the network sees; points of no cell are left out of a mesh.
        surface: outward triangles, numbering the points of the mesh; None without faces.
        remarks: what was found and done.
    """

    sample: dict[str, Any]
    used: np.ndarray
    surface: Surface | None
    remarks: tuple[str, ...]


def prepare_input(mesh: Mesh, name: str, network: Network, given: Mapping[str, str] | None = None) -> Prepared:
    """Build the sample.

    Args:
        mesh: as read.
        name: of the file, for messages.
        network: what it needs.
        given: ``--field``: field -> the name of a point field of the file, or numbers ("1.5" or "50,4,3e6"), the same
            at every point.

    Raises:
        InputError: no points, positions that are not finite, a 3-D cloud for a 2-D network, a field that is missing.
    """
    remarks: list[str] = []
    used = _used_points(mesh)
    if not used.all():
        remarks.append(f"{int((~used).sum())} of {len(used)} points belong to no cell: not predicted (NaN)")
    if not used.any():
        raise InputError(f"{name}: has no points, wanted at least one")
    points = mesh.points[used]
    if not np.isfinite(points).all():
        raise InputError(f"{name}: points are NaN or infinite, wanted finite positions")
    triangle = triangles_of(mesh)
    surface = outward_surface(mesh.points, triangle) if len(triangle) and network.dimensions == 3 else None
    if surface is not None and surface.turned:
        remarks.append(
            f"{surface.turned} of {len(surface.triangle)} faces looked inward: turned for normals and forces"
        )
    sample: dict[str, Any] = {"coord": _coordinates(points, network.dimensions, name).astype(np.float32), "name": name}
    fields = dict(given or {})
    for field, transform in network.needed_fields().items():
        values = _field(field, transform, mesh, used, surface, fields.pop(field, None), name, remarks)
        if field in network.standardize:
            scale = network.standardize[field]
            values = (values - np.asarray(scale["mean"])) / np.asarray(scale["std"])
        sample[field] = values.astype(np.float32)
    if fields:
        needed = list(network.needed_fields())
        raise InputError(f"--field {next(iter(fields))}: the network takes {needed or 'no field'}, not that one")
    sample["index_valid_keys"] = [key for key in sample if key != "name"]
    return Prepared(sample, used, surface, tuple(remarks))


def _used_points(mesh: Mesh) -> np.ndarray:
    """(N,) True for points of some cell, or all where there are no cells."""
    if not mesh.num_cells:
        return np.ones(len(mesh.points), dtype=bool)
    used = np.zeros(len(mesh.points), dtype=bool)
    for block in mesh.cells.values():
        used[block.ravel()] = True
    return used


def _coordinates(points: np.ndarray, dimensions: int, name: str) -> np.ndarray:
    if dimensions == points.shape[1]:
        return points
    if dimensions == 2 and np.ptp(points[:, 2]) <= FLAT * max(float(np.ptp(points, axis=0).max()), 1e-300):
        return points[:, :2]
    raise InputError(
        f"{name}: z runs from {points[:, 2].min():.4g} to {points[:, 2].max():.4g}, wanted one value: the network was "
        "trained on 2-D clouds"
    )


def _field(
    field: str,
    transform: str,
    mesh: Mesh,
    used: np.ndarray,
    surface: Surface | None,
    given: str | None,
    name: str,
    remarks: list[str],
) -> np.ndarray:
    """One point field (n, k) of the points used: as given, else by its name, else (normals) from the faces."""
    n = int(used.sum())
    numbers = _numbers(given)
    if numbers is not None:
        return np.tile(numbers, (n, 1))
    source = given or field
    if source in mesh.point_data:
        values = np.asarray(mesh.point_data[source], dtype=np.float64)[used].reshape(n, -1)
        if not np.isfinite(values).all():
            raise InputError(f"{name}: point field {source!r} has NaN or infinite values, wanted finite ones")
        return values
    if field == "normal" and given is None and surface is not None:
        remarks.append(f"normals from the faces{'' if surface.closed else ' (an open surface: outward is a guess)'}")
        return point_normals(mesh.points, surface.triangle)[used]
    known = sorted(mesh.point_data)
    cells = f" (a cell field of that name cannot be used: {source!r})" if source in mesh.cell_data else ""
    faces = " or faces to compute it from" if field == "normal" else ""
    raise InputError(
        f"{name}: has no point field {source!r}{faces}, which the network was trained with ({transform}); it has "
        f"{known}{nearest(source, known)}{cells}; give --field {field}=NAME or --field {field}=NUMBER"
    )


def _numbers(given: str | None) -> np.ndarray | None:
    """The numbers in "50,4,3e6"; None if it is no list of numbers."""
    try:
        return None if given is None else np.array([float(part) for part in given.split(",")])
    except ValueError:
        return None
