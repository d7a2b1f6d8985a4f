"""Reading arrays from disk without surprises: no pickles, no half files, no NaN.

Every fault of a file is an ``InputError`` that names the file, what it holds and what was wanted.
"""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pointcept_bsa.errors import InputError

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
        with path.open("rb") as file:
            found_shape, fortran_order, dtype = _read_npy_header(file, path)
            start = file.tell()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a .npy file") from None
    if dtype.hasobject:
        raise InputError(f"{path}: holds pickled objects, wanted plain numbers")
    expected = start + int(np.prod(found_shape, dtype=np.int64)) * dtype.itemsize
    actual = path.stat().st_size
    if actual < expected:
        raise InputError(f"{path}: truncated: {actual} of {expected} bytes, wanted a whole .npy file")
    if dtype.kind not in kind:
        raise InputError(f"{path}: holds {dtype} values, wanted {_kind_names(kind)}")
    if shape is not None and not _fits(found_shape, shape):
        raise InputError(f"{path}: has shape {found_shape}, wanted {_shape_text(shape)}")
    if expected == start:  # an empty array cannot be mapped
        return np.empty(found_shape, dtype)
    return np.memmap(path, dtype, "r", offset=start, shape=found_shape, order="F" if fortran_order else "C")


def _read_npy_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        else:
            header = np.lib.format.read_array_header_2_0(file)
        if any(n < 0 for n in header[0]):
            raise ValueError("negative length")
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError):  # numpy evaluates the header's text
        raise InputError(f"{path}: is not a .npy file or its header is cut, wanted a whole .npy file") from None
    return header


def read_npz(path: str | Path, keys: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays ``keys`` (``None``: all) of an ``.npz`` archive into memory.

    Raises:
        InputError: missing, foreign, pickled or damaged archive, or an array that is not in it.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: is a single .npy array, wanted an .npz archive")
            wanted = archive.files if keys is None else keys
            missing = [key for key in wanted if key not in archive.files]
            if missing:
                raise InputError(f"{path}: has arrays {archive.files}, wanted also {missing}")
            return {key: archive[key] for key in wanted}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}), wanted an .npz archive") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is not a whole .npz archive of plain arrays ({_one_line(error)})") from None


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
