"""Arrays from ``.npy`` and ``.npz`` files, without pickles; a header that says more than the file holds is refused
before anything is allocated."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.source import MAX_BYTES, MAX_RATIO


class Header(NamedTuple):
    """What an array of a ``.npy`` file is."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    num_bytes: int  # of the values


def read_header(file: IO[bytes], where: object, objects: bool = False) -> Header:
    """Read the header of a ``.npy`` file; the file then stands at the first value.

    Raises:
        InputError: foreign, cut, or (without ``objects``) an array of pickled objects.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        elif version in ((2, 0), (3, 0)):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError("unknown version")
        if any(n < 0 for n in shape) or len(shape) > 32:
            raise ValueError("negative length")
    # numpy evaluates the header's text
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, KeyError):
        raise InputError(f"{where}: is not a .npy file or its header is cut, wanted a whole .npy file") from None
    if dtype.hasobject and not objects:
        raise InputError(f"{where}: holds pickled objects, wanted plain numbers")
    return Header(shape, fortran_order, dtype, math.prod(shape) * dtype.itemsize)


def read_npz(
    path: str | Path,
    keys: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
    left_out: list[str] | None = None,
) -> dict[str, np.ndarray]:
    """Read the arrays ``keys`` (``None``: all) of an ``.npz`` archive into memory.

    With a list ``left_out``, arrays of pickled objects are not an error: they are not read and their names put there.

    Raises:
        InputError: missing, foreign, pickled or damaged archive, an array that is not in it, more than ``max_bytes``.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: cannot be read (no such file), wanted an .npz archive")
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise InputError(f"{path}: is a single .npy array, wanted an .npz archive")
            return _read_members(path, file, keys, max_bytes, left_out)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}), wanted an .npz archive") from None
    except (
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,  # a compression that zipfile does not know
        RuntimeError,  # a password
        OverflowError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is not a whole .npz archive of plain arrays ({_one_line(error)})") from None


def _read_members(
    path: Path, file: IO[bytes], keys: Sequence[str] | None, max_bytes: int, left_out: list[str] | None
) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        wanted = list(members) if keys is None else list(keys)
        missing = [key for key in wanted if key not in members]
        if missing:
            raise InputError(f"{path}: has arrays {list(members)}, wanted also {missing}")
        total = sum(members[key].file_size for key in set(wanted))
        if total > max_bytes:
            raise InputError(f"{path}: unfolds to {total} bytes, wanted at most {max_bytes}")
        arrays = {}
        for key in wanted:
            where = f"{path} array {key!r}"
            if left_out is not None and _holds_objects(archive, members[key], where):
                left_out.append(key)
            else:
                arrays[key] = _read_member(archive, members[key], where)
        return arrays


def _holds_objects(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bool:
    with archive.open(info) as member:
        return read_header(member, where, objects=True).dtype.hasobject


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{where}: is compressed by method {info.compress_type}, wanted none or deflate")
    if info.file_size > MAX_RATIO * info.compress_size:
        raise InputError(f"{where}: says that {info.compress_size} bytes unfold to {info.file_size}, which cannot be")
    with archive.open(info) as member:
        header = read_header(member, where)
        left = info.file_size - member.tell()
        if header.num_bytes != left:
            raise InputError(f"{where}: has {left} bytes of values, wanted {header.num_bytes} as its header says")
        content = member.read(left)
    if len(content) != left:
        raise InputError(f"{where}: truncated: {len(content)} of {left} bytes")
    return shaped(content, header)


def shaped(content: bytes, header: Header) -> np.ndarray:
    """Return the array of a header from the bytes of its values; the caller may change it."""
    if not header.num_bytes:
        return np.empty(header.shape, header.dtype)
    flat = np.frombuffer(bytearray(content), header.dtype)
    return flat.reshape(header.shape[::-1]).T if header.fortran_order else flat.reshape(header.shape)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
