"""Opening a mesh file for reading by blocks of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.streams import MeshStream
from pointcept_bsa.mesh_io.vtk_legacy_stream import open_legacy_stream
from pointcept_bsa.mesh_io.vtk_xml_stream import open_xml_stream

KINDS = {".vtp": "PolyData", ".vtu": "UnstructuredGrid"}


def open_mesh_stream(paths: Sequence[Path]) -> MeshStream:
    """Open a ``.vtp``, ``.vtu`` or ``.vtk`` file, or the parts ``<name>.vtu.00.part``, ... of one, in order.

    Raises:
        InputError: another suffix, a missing or malformed file.
    """
    first = paths[0]
    suffix = (Path(first.name.split(".vtu")[0] + ".vtu") if first.suffix == ".part" else first).suffix.lower()
    if suffix == ".vtk" and len(paths) == 1:
        return open_legacy_stream(first)
    if suffix not in KINDS:
        raise InputError(f"{first}: has the suffix {first.suffix!r}, wanted one of .vtk .vtp .vtu .vtu.NN.part")
    return open_xml_stream(paths, KINDS[suffix])
