"""Meshes in ``.npz`` archives and points in ``.npy`` files.

An archive written here has ``points``, ``cells/<name>``, ``point_data/<name>``, ``cell_data/<name>`` and
``field_data/<name>``. In an archive from elsewhere the points are ``points``, ``coord``, ``coords``, ``pos`` or
``position``; ``face`` or ``faces`` (F, 3 or 4) are triangles or quads; any other array with one row a point is point
data and the rest is field data. Arrays of anything but numbers are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.npy_file import write_npy
from pointcept_bsa.mesh_io.mesh import Mesh
from pointcept_bsa.mesh_io.numpy_files import read_header, read_npz, shaped
from pointcept_bsa.mesh_io.source import MAX_BYTES

POINTS = ("points", "coord", "coords", "pos", "position")
FACES = ("face", "faces")
GROUPS = ("cells", "point_data", "cell_data", "field_data")


def read_npz_mesh(path: Path) -> Mesh:
    """Raises ``InputError``: no points, damaged archive."""
    left_out: list[str] = []
    arrays = read_npz(path, left_out=left_out)
    left_out += [key for key in arrays if arrays[key].dtype.kind not in "fiub"]
    arrays = {key: values for key, values in arrays.items() if key not in left_out}
    named = [key for key in POINTS if key in arrays]
    if len(named) != 1:
        raise InputError(f"{path}: has arrays {list(arrays)[:20]}, wanted exactly one of {list(POINTS)}")
    points = arrays.pop(named[0])
    groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in GROUPS}
    for key, values in arrays.items():
        group, _, name = key.partition("/")
        if name and group in groups:
            groups[group][name] = values
        elif key in FACES and values.ndim == 2 and values.shape[1] in (3, 4) and values.dtype.kind in "iu":
            groups["cells"]["triangle" if values.shape[1] == 3 else "quad"] = values
        elif values.ndim and len(values) == len(points):
            groups["point_data"][key] = in_columns(values)
        else:
            groups["field_data"][key] = values
    return Mesh(points, **groups, left_out=tuple(left_out))


def in_columns(values: np.ndarray) -> np.ndarray:
    """(N,) and (N, k) as they are, tensors (N, 3, 3) as (N, 9), row after row."""
    return values if values.ndim < 3 else values.reshape(len(values), -1)


def write_npz_mesh(file: BinaryIO, mesh: Mesh, where: object) -> None:
    arrays = {f"{group}/{name}": values for group in GROUPS for name, values in getattr(mesh, group).items()}
    np.savez_compressed(file, allow_pickle=False, **{"points": mesh.points, **arrays})


def read_npy_mesh(path: Path) -> Mesh:
    """Raises ``InputError``: not a whole array of numbers (N, 2) or (N, 3)."""
    return Mesh(read_table(path))


def read_table(path: Path, dimensions: int | None = 2) -> np.ndarray:
    """Return an array of numbers with so many dimensions (None: any).

    Raises:
        InputError: not a whole one.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: is no file, wanted a .npy file")
        with path.open("rb") as file:
            header = read_header(file, path)
            left = path.stat().st_size - file.tell()
            if header.num_bytes > min(left, MAX_BYTES):
                raise InputError(f"{path}: truncated: {left} of {header.num_bytes} bytes of values are there")
            content = file.read(header.num_bytes)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a .npy file") from None
    if header.dtype.kind not in "fiub" or dimensions not in (None, len(header.shape)):
        raise InputError(f"{path}: holds {header.dtype} of shape {header.shape}, wanted numbers in rows and columns")
    if len(content) != header.num_bytes:
        raise InputError(f"{path}: truncated: {len(content)} of {header.num_bytes} bytes of values are there")
    return shaped(content, header)


def write_npy_mesh(file: BinaryIO, mesh: Mesh, where: object) -> None:
    """Raises ``InputError`` if the mesh has more than points."""
    more = [group for group in GROUPS if getattr(mesh, group)]
    if more:
        raise InputError(f"{where}: a .npy file holds points only, the mesh has {more}; wanted .npz, .vtu or .vtp")
    write_npy(file, mesh.points)
