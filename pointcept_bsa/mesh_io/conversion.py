"""How files of other formats become one that is read: a line for the shell."""

from __future__ import annotations

import glob
from pathlib import Path

from pointcept_bsa.errors import nearest
from pointcept_bsa.mesh_io.through_pyvista import BLOCKS, MESHES

# Archives of arrays, of which nobody knows what is what: the points must be coord. All HDF5 files of the folder, each
# beside itself.
_HDF5 = (
    "import h5py; w = lambda f, d: (h5py.File(f).visititems(lambda k, v: d.update({{k.replace('/', '_'): v[()]}}) "
    "if hasattr(v, 'shape') else None), n.savez(f.rsplit('.', 1)[0], **d)); [w(f, {{}}) for f in g.glob('{files}')]"
)
_ZARR = "import zarr; f = zarr.open('{path}'); n.savez('{target}', **{{k: f[k][:] for k in f.array_keys()}})"
ARRAYS = {".h5": _HDF5, ".hdf5": _HDF5, ".zarr": _ZARR}


def conversion(path: str | Path, wanted: tuple[str, ...]) -> str:
    """Return how a file becomes one that is read, or which suffix of those ``wanted`` was meant; "" if unknown."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (*MESHES, *BLOCKS):
        blocks = ".combine()" if suffix in BLOCKS else ""
        target = path.with_suffix(".vtk").name  # holds every kind of grid
        return f"; to convert it: python -c \"import pyvista; pyvista.read('{path}'){blocks}.save('{target}')\""
    if suffix in ARRAYS:
        files = (Path(glob.escape(str(path.parent))) / f"*{path.suffix}").as_posix()
        code = ARRAYS[suffix].format(path=path, files=files, target=path.with_suffix(".npz").name)
        return f'; to convert it (the points are coord): python -c "import numpy as n, glob as g; {code}"'
    return nearest(suffix, wanted)
