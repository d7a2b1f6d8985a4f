"""How files of other formats become one that is read: a line for the shell."""

from __future__ import annotations

from pathlib import Path

from pointcept_bsa.errors import nearest
from pointcept_bsa.mesh_io.through_pyvista import BLOCKS, MESHES

# Tables and archives of arrays, of which nobody knows what is what: the points must be coord, or x, y, z.
_TABLE = (
    "t = n.genfromtxt('{path}', delimiter=',', names=True); k = t.dtype.names; n.savez('{target}', "
    "coord=n.stack([t[c] for c in 'xyz' if c in k], 1), **{{c: t[c] for c in k if c not in 'xyz'}})"
)
_HDF5 = (
    "import h5py; f = h5py.File('{path}'); n.savez('{target}', **{{k: f[k][()] for k in f if hasattr(f[k], 'shape')}})"
)
_ZARR = "import zarr; f = zarr.open('{path}'); n.savez('{target}', **{{k: f[k][:] for k in f.array_keys()}})"
ARRAYS = {".csv": _TABLE, ".h5": _HDF5, ".hdf5": _HDF5, ".zarr": _ZARR}


def conversion(path: str | Path, wanted: tuple[str, ...]) -> str:
    """Return how a file becomes one that is read, or which suffix of those ``wanted`` was meant; "" if unknown."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (*MESHES, *BLOCKS):
        blocks = ".combine()" if suffix in BLOCKS else ""
        target = path.with_suffix(".vtk").name  # holds every kind of grid
        return f"; to convert it: python -c \"import pyvista; pyvista.read('{path}'){blocks}.save('{target}')\""
    if suffix in ARRAYS:
        code = ARRAYS[suffix].format(path=path, target=path.with_suffix(".npz").name)
        return f'; to convert it (the points are x, y, z or coord): python -c "import numpy as n; {code}"'
    return nearest(suffix, wanted)
