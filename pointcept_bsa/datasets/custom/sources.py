"""The samples of a folder: mesh files, ``.npz`` archives, ``.npy`` and ``.csv`` tables, folders of ``.npy`` arrays.

A file that names others as the parts of one mesh (``.vtm .pvtu .pvtp``) is one sample, and its parts are none.

The name of a sample is its path below the folder, without the suffix: ``train/car_07`` for ``train/car_07.vtp``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import ARRAYS, FOREIGN, INDICES, SUFFIXES, Mesh, conversion, index_parts, read_mesh
from pointcept_bsa.mesh_io.mesh import checked_mesh
from pointcept_bsa.mesh_io.numpy_files import read_header
from pointcept_bsa.mesh_io.numpy_mesh import FACES, POINTS, in_columns, read_table

AXES = ("x", "y", "z")
PREPARED = "fields.json"  # of a prepared folder, see ``stores``
TABLES = (".csv",)
OWN = (*[suffix for suffix in SUFFIXES if suffix not in TABLES], *INDICES)
RANKS = (OWN, FOREIGN, TABLES)  # a folder has samples of the first that is there


def find_samples(root: str | Path, parameters: str | Path | None = None) -> dict[str, Path]:
    """Return the samples below ``root``, sorted by name; files and folders with a leading dot are passed over, and
    so are folders that a preparation has written (they have ``fields.json``), which may lie among the files.

    Linked folders and files count like others; a link to a folder that it lies in is passed over. Formats that are read
    through pyvista count where there is no file of another one: a mesh that a result was computed on lies beside it.
    Tables ``.csv`` count where there is no other file, as lists of cases and forces lie beside meshes; ``parameters``
    is no sample.

    Raises:
        InputError: no folder, nothing in it, two samples of one name, an index of parts that cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"--src: got {str(root)!r}, wanted a folder of {' '.join((*OWN, *TABLES))} files")
    paths = sorted(_paths_below(root, (_identity(root),)))
    parts = {part.resolve() for path in paths if _kind(path) in INDICES for part in index_parts(path)}
    apart = None if parameters is None else Path(parameters).resolve()
    paths = [path for path in paths if path.resolve() != apart]
    kinds = {_kind(path) for path in paths}
    wanted = next((rank for rank in RANKS if kinds.intersection(rank)), ())
    samples: dict[str, Path] = {}
    for path in paths:
        if _kind(path) not in wanted or path.resolve() in parts:
            continue
        relative = path.relative_to(root)
        if path.is_dir() or _is_array_folder(path.parent):
            path = path.parent if _is_array_folder(path.parent) else path
            if path == root or _kind(path) in SUFFIXES:
                raise InputError(f"{path}: is a folder, wanted samples in files, or in folders below {root}")
        name = path.relative_to(root).as_posix() if path.is_dir() else relative.with_suffix("").as_posix()
        if samples.setdefault(name, path) != path:
            raise InputError(
                f"--src: {samples[name]} and {path.name} are both sample {name!r}, wanted one file a sample"
            )
    if not samples:
        known = next((conversion(path, OWN) for path in paths if _kind(path) in ARRAYS), "")
        raise InputError(
            f"--src: {root} has no files {' '.join((*OWN, *TABLES, *FOREIGN))}, wanted one a sample{known}"
        )
    return dict(sorted(samples.items()))


def _kind(path: Path) -> str:
    return path.suffix.lower()


def _paths_below(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """All files and folders; ``above`` are the folders that lead here, into which a link would go round."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"--src: {folder} cannot be read ({error.strerror}), wanted a folder of samples") from None
    for path in paths:
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield path
        elif (own := _identity(path)) not in above and not (path / PREPARED).is_file():
            yield path
            yield from _paths_below(path, (*above, own))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def read_source(path: Path, columns: Sequence[str] = ()) -> Mesh:
    """Return one sample as a mesh.

    Args:
        path: file, or folder of ``.npy`` arrays of which one is the points (``coord.npy``).
        columns: what the columns of a ``.npy`` table are; "x", "y" and "z" are the coordinates.

    Raises:
        InputError: a file that cannot be read, a table of other columns.
    """
    if path.is_dir():
        return _read_array_folder(path)
    if path.suffix.lower() == ".npy" and columns:
        return _read_columns(path, columns)
    return read_mesh(path)


def _is_array_folder(folder: Path) -> bool:
    return any((folder / f"{name}.npy").is_file() for name in POINTS)


def _read_array_folder(folder: Path) -> Mesh:
    files = {file.stem: file for file in sorted(folder.glob("*.npy"))}
    left_out = tuple(name for name, file in files.items() if not _holds_numbers(file))
    arrays = {name: _read_array(file) for name, file in files.items() if name not in left_out}
    named = [name for name in POINTS if name in arrays]
    if len(named) != 1:
        raise InputError(f"{folder}: has arrays {list(arrays)}, wanted exactly one of {list(POINTS)}")
    mesh = Mesh(arrays.pop(named[0]), left_out=left_out)
    for name, values in arrays.items():
        if name in FACES and values.shape[1:] in ((3,), (4,)) and values.dtype.kind in "iu":
            mesh.cells["triangle" if values.shape[1] == 3 else "quad"] = values
        elif values.ndim and len(values) == len(mesh.points):
            mesh.point_data[name] = in_columns(values)
        else:
            mesh.field_data[name] = values
    return checked_mesh(mesh, folder)


def _holds_numbers(path: Path) -> bool:
    """False for texts and pickled objects, which are not read."""
    try:
        with path.open("rb") as file:
            return read_header(file, path, objects=True).dtype.kind in "fiub"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a .npy file") from None


def _read_array(path: Path) -> np.ndarray:
    return read_table(path, dimensions=None)


def _read_columns(path: Path, columns: Sequence[str]) -> Mesh:
    table = read_table(path)
    if table.shape[1] != len(columns):
        raise InputError(f"{path}: has {table.shape[1]} columns, wanted {len(columns)}: {', '.join(columns)}")
    by_name = {name: table[:, i] for i, name in enumerate(columns)}
    axes = [axis for axis in AXES if axis in by_name]
    if axes not in (["x", "y"], ["x", "y", "z"]):
        raise InputError(f"--columns: got {', '.join(columns)}, wanted x, y (and z) among them")
    mesh = Mesh(np.stack([by_name.pop(axis) for axis in axes], axis=1), point_data=by_name)
    return checked_mesh(mesh, path)
