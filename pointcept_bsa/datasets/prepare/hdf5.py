"""Reading arrays of numbers from HDF5 files without surprises.

An HDF5 file may name other files (links, external storage, virtual data), announce arrays that it does not hold, or
call decompressors. A file of measurements needs none of this: here it is refused by name, before anything is
allocated.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pointcept_bsa.datasets.arrays import Shape, check_finite
from pointcept_bsa.errors import InputError

MAX_BYTES = 2**32  # of one array: 4 GiB; the largest of the polymer data has 0.05
STORED_HERE = (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT)
# What h5py turns the library's failures on damaged files into.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, NotImplementedError)


def read_hdf5(path: str | Path, name: str, shape: Shape | None = None, kind: str = "f") -> np.ndarray:
    """Read the array ``name`` of the root group of an HDF5 file into memory.

    Args:
        path: the file.
        name: name of the array.
        shape: wanted shape; ``None`` as an entry stands for any length. ``None``: any shape.
        kind: wanted numpy dtype kinds, any of the letters ("f" floating, "i" signed, "u" unsigned integer).

    Returns:
        The array, in the machine's byte order.

    Raises:
        InputError: missing, foreign, damaged or truncated file; no such array, one of another shape or type, one above
            4 GiB, one kept elsewhere (links, external or virtual storage) or behind filters (compression); NaN.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: is missing, wanted an HDF5 file with an array {name!r}")
    try:
        with h5py.File(path, "r") as file:
            dataset = _dataset(file, name, path)
            _check_storage(dataset, name, path)
            _check_contents(dataset, name, path, shape, kind)
            values = np.asarray(dataset[()])
    except InputError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{path}: is not a whole HDF5 file with an array {name!r} ({reason})") from None
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    check_finite(values, name, path)
    return values


def _dataset(file: Any, name: str, path: Path) -> Any:
    if name not in file:
        raise InputError(f"{path}: has {[str(key) for key in islice(file, 20)]}, wanted an array {name!r}")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {name!r} is a link to another place, wanted the array itself")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{path}: {name!r} is a {type(dataset).__name__.lower()}, wanted an array")
    return dataset


def _check_storage(dataset: Any, name: str, path: Path) -> None:
    creation = dataset.id.get_create_plist()
    if creation.get_nfilters():
        filters = [creation.get_filter(i)[3].decode("ascii", "replace") for i in range(creation.get_nfilters())]
        raise InputError(f"{path}: {name!r} is stored through filters {filters}, wanted plain numbers")
    if creation.get_layout() not in STORED_HERE or creation.get_external_count():
        raise InputError(f"{path}: {name!r} is kept in other files or arrays, wanted the array itself")


def _check_contents(dataset: Any, name: str, path: Path, shape: Shape | None, kind: str) -> None:
    found, dtype = dataset.shape, dataset.dtype
    if found is None or dtype.kind not in kind:
        raise InputError(f"{path}: {name!r} holds {dtype} values, wanted numbers of kind {kind!r}")
    fits = shape is None or (
        len(found) == len(shape) and all(w is None or f == w for f, w in zip(found, shape, strict=True))
    )
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape or ())
        raise InputError(f"{path}: {name!r} has shape {tuple(found)}, wanted ({wanted})")
    announced = dtype.itemsize
    for n in found:
        announced *= int(n)
    stored = min(dataset.id.get_storage_size(), path.stat().st_size)
    if announced > MAX_BYTES:
        raise InputError(f"{path}: {name!r} announces {announced} bytes, wanted at most {MAX_BYTES}")
    if announced > stored:
        raise InputError(f"{path}: {name!r} announces {announced} bytes and stores {stored}, wanted all of them")
