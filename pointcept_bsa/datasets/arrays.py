"""Reading arrays from disk without surprises: no pickles, no half files, no NaN.

Every fault of a file is an ``InputError`` that names the file, what it holds and what was wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.numpy_files import read_header, read_npz

__all__ = ["Shape", "check_finite", "read_npy", "read_npz"]

Shape = Sequence[int | None]


def read_npy(path: str | Path, shape: Shape | None = None, kind: str = "f") -> np.ndarray:
    """Memory-map a ``.npy`` file after checking that it is whole and holds what is wanted.

    Args:
        path: the file.
        shape: wanted shape; ``None`` as an entry stands for any length. ``None``: any shape.
        kind: wanted numpy dtype kinds, any of the letters ("f" floating, "i" signed, "u" unsigned integer).

    Returns:
        A read-only array; the caller copies what it keeps.

    Raises:
        InputError: missing, unreadable, foreign, pickled or truncated file, or another dtype or shape.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: cannot be read (no such file), wanted a .npy file")
        with path.open("rb") as file:
            found = read_header(file, path)
            start = file.tell()
        actual = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a .npy file") from None
    expected = start + found.num_bytes
    if actual < expected:
        raise InputError(f"{path}: truncated: {actual} of {expected} bytes, wanted a whole .npy file")
    if found.dtype.kind not in kind:
        raise InputError(f"{path}: holds {found.dtype} values, wanted {_kind_names(kind)}")
    if shape is not None and not _fits(found.shape, shape):
        raise InputError(f"{path}: has shape {found.shape}, wanted {_shape_text(shape)}")
    if expected == start:  # an empty array cannot be mapped
        return np.empty(found.shape, found.dtype)
    return np.memmap(path, found.dtype, "r", offset=start, shape=found.shape, order="F" if found.fortran_order else "C")


def check_finite(values: np.ndarray, field: str, where: str | Path) -> None:
    """Raise ``InputError`` naming ``where``, ``field`` and the count if ``values`` holds NaN or infinity."""
    if values.dtype.kind != "f":
        return
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InputError(f"{where}: field {field!r} has {bad} NaN or infinite of {values.size} values, wanted none")


def _fits(found: tuple[int, ...], wanted: Shape) -> bool:
    return len(found) == len(wanted) and all(w is None or f == w for f, w in zip(found, wanted, strict=True))


def _shape_text(shape: Shape) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"


def _kind_names(kind: str) -> str:
    names = {"f": "floating point", "i": "integer", "u": "unsigned integer"}
    return " or ".join(names[letter] for letter in kind)
