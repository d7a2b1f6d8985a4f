"""Reading arrays of numbers from HDF5 files without surprises.

An HDF5 file may name other files (links, external storage, virtual data), announce arrays that it does not hold, or
call decompressors of plugins. A file of measurements needs none of this: here it is refused by name, before anything is
allocated. HDF5's own gzip, shuffle and check sums are read; every packed chunk is first seen to unfold to no more than
a chunk.
"""

from __future__ import annotations

import math
import zlib
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pointcept_bsa.datasets.arrays import Shape, check_finite
from pointcept_bsa.errors import InputError

MAX_BYTES = 2**32  # of one array: 4 GiB; the largest of the polymer data has 0.05
MAX_RATIO = 1100  # deflate packs 1032 bytes into one at most
FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
STORED_HERE = (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED, h5py.h5d.COMPACT)
DEFLATE, SUM_BYTES = h5py.h5z.FILTER_DEFLATE, 4  # of a check sum
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
            4 GiB, one kept elsewhere (links, external or virtual storage) or behind other filters than gzip, shuffle
            and check sums; a chunk that is missing, or is not of its size when unfolded; NaN.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: is missing, wanted an HDF5 file with an array {name!r}")
    try:
        with h5py.File(path, "r") as file:
            dataset = _dataset(file, name, path)
            _check_storage(dataset, name, path)
            _check_contents(dataset, name, path, shape, kind)
            _check_chunks(dataset, name, path)
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
    filters = [creation.get_filter(i) for i in range(creation.get_nfilters())]
    codes = [item[0] for item in filters]
    if not set(codes) <= set(FILTERS) or len(set(codes)) < len(codes):
        names = [item[3].decode("ascii", "replace") for item in filters]
        raise InputError(f"{path}: {name!r} is stored through filters {names}, wanted none, gzip or shuffle")
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
    if announced > stored * (MAX_RATIO if _packed(dataset) else 1):
        raise InputError(f"{path}: {name!r} announces {announced} bytes and stores {stored}, wanted all of them")


def _filters(dataset: Any) -> list[int]:
    """Codes of the filters through which an array is stored, in their order."""
    creation = dataset.id.get_create_plist()
    return [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]


def _packed(dataset: Any) -> bool:
    return DEFLATE in _filters(dataset)


def _check_chunks(dataset: Any, name: str, path: Path) -> None:
    """Every chunk of a filtered array is there and has its size, packed or not: HDF5 itself would unfold without an
    end, and take a check sum off chunks that have no room for one."""
    codes = _filters(dataset)
    if not codes:
        return
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if size > MAX_BYTES:
        raise InputError(f"{path}: {name!r} has chunks of {size} bytes, wanted at most {MAX_BYTES}")
    wanted = math.prod(-(-n // chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    if dataset.id.get_num_chunks() != wanted:
        raise InputError(f"{path}: {name!r} stores {dataset.id.get_num_chunks()} of {wanted} chunks, wanted all")
    most = path.stat().st_size
    for part in dataset.iter_chunks():
        place = tuple(own.start for own in part)
        chunk = dataset.id.get_chunk_info_by_coord(place)
        if chunk.size > most:
            raise InputError(f"{path}: {name!r} has a chunk of {chunk.size} bytes, more than the file's {most}")
        applied = [code for i, code in enumerate(codes) if not chunk.filter_mask & (1 << i)]
        inside = applied[: applied.index(DEFLATE)] if DEFLATE in applied else applied
        full = size + (SUM_BYTES if h5py.h5z.FILTER_FLETCHER32 in inside else 0)
        found = chunk.size
        if DEFLATE in applied:
            try:
                content = dataset.id.read_direct_chunk(place)[1]
                found = len(zlib.decompressobj().decompress(content, full + 1))
            except zlib.error as error:
                raise InputError(f"{path}: {name!r} has a damaged chunk ({error})") from None
        if found > full:
            raise InputError(f"{path}: {name!r} has a chunk that unfolds to more than its {size} bytes")
        if found < full:
            raise InputError(f"{path}: {name!r} has a chunk of {found} bytes, wanted {full}")
