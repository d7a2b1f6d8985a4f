"""Reading arrays of numbers from MATLAB version 5 files.

The format (MathWorks, "MAT-File Format", level 5): 128 bytes of header; then elements of a tag (type and length) and
their bytes, padded to 8: matrices, or compressed ones. A matrix is made of elements itself: flags, dimensions, name,
values. Every length is compared with what there is, and shapes with what is wanted, before anything is allocated.

By hand on purpose: of 1,500 damaged files 13 ended the process in scipy 1.17.1 (``loadmat``: segmentation faults and a
bus error), and a reader of this package starts no process that could take the blow (tests/fuzz).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pointcept_bsa.datasets.arrays import Shape
from pointcept_bsa.errors import InputError

MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # of values
NUMERIC_CLASSES = range(6, 16)  # double, single, integers
COMPLEX = 0x0800
MAX_DIMENSIONS = 16
MAX_NAME = 256
CHUNK = 2**22


def read_mat(path: str | Path, wanted: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Read the arrays ``wanted`` into memory.

    Args:
        path: a file of version 5, as ``save -v6`` or ``-v7`` writes it.
        wanted: name -> shape; ``None`` as an entry stands for any length.

    Returns:
        The arrays, in the type they are stored in.

    Raises:
        InputError: missing, foreign or damaged file; arrays missing, of other shapes or not of real numbers.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read_arrays(file, path.stat().st_size, dict(wanted), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a MATLAB file") from None
    except (_Damaged, zlib.error) as error:
        raise InputError(f"{path}: is not a whole MATLAB version 5 file ({error})") from None


class _Damaged(Exception):
    """What is wrong with the bytes."""


def _read_arrays(file: BinaryIO, size: int, wanted: dict[str, Shape], path: Path) -> dict[str, np.ndarray]:
    header = file.read(128)
    orders = {b"IM": "<", b"MI": ">"}
    if len(header) < 128 or header[126:] not in orders:
        raise _Damaged("its header is cut or foreign")
    order = orders[header[126:]]
    (version,) = struct.unpack(order + "H", header[124:126])
    if version >> 8 != 1:
        raise InputError(f"{path}: is a MATLAB file of version {version >> 8}, wanted 1 (version 5 of MATLAB)")
    found: dict[str, np.ndarray] = {}
    names: list[str] = []
    place = 128
    while place < size and len(found) < len(wanted):
        file.seek(place)
        tag = file.read(8)
        if len(tag) < 8:
            raise _Damaged(f"it ends in a tag at byte {place}")
        kind, length = struct.unpack(order + "II", tag)
        if kind not in (MATRIX, COMPRESSED) or length > size - place - 8:
            raise _Damaged(f"element at byte {place} has type {kind} and {length} bytes, {size - place - 8} are there")
        stream = _Inflated(file, length) if kind == COMPRESSED else _Plain(file, length)
        _read_matrix(stream, kind == COMPRESSED, order=order, wanted=wanted, found=found, names=names, path=path)
        place += 8 + length + (-length % 8 if kind == MATRIX else 0)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(f"{path}: has arrays {names[:20]}, wanted also {missing}")
    return found


class _Plain:
    """So many bytes of a file, one after the other."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self.file, self.left = file, length

    def fill(self, target: memoryview) -> None:
        if len(target) > self.left or self.file.readinto(target) != len(target):  # type: ignore[attr-defined]
            raise _Damaged("an element is longer than its matrix")
        self.left -= len(target)


class _Inflated:
    """The bytes that compressed ones of a file stand for, a piece at a time."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self.file, self.left = file, length
        self.longest = 1032 * length  # deflate's largest ratio
        self.inflate = zlib.decompressobj()

    def fill(self, target: memoryview) -> None:
        done = 0
        while done < len(target):
            packed = self.inflate.unconsumed_tail
            if not packed:
                packed = self.file.read(min(CHUNK, self.left))
                self.left -= len(packed)
            piece = self.inflate.decompress(packed, len(target) - done)
            if not piece and not (packed and self.left):
                raise _Damaged("compressed values end too early")
            target[done : done + len(piece)] = piece
            done += len(piece)


Stream = _Plain | _Inflated


def _read_matrix(
    stream: Stream,
    packed: bool,
    order: str,
    wanted: Mapping[str, Shape],
    found: dict[str, np.ndarray],
    names: list[str],
    path: Path,
) -> None:
    if packed:
        kind, _ = struct.unpack(order + "II", _take(stream, 8))
        if kind != MATRIX:
            raise _Damaged(f"compressed element has type {kind}")
    flags = _element(stream, order, 6, 8)
    dimensions = _element(stream, order, 5, 4 * MAX_DIMENSIONS)
    if len(dimensions) % 4:
        raise _Damaged(f"dimensions have {len(dimensions)} bytes")
    name = _element(stream, order, 1, MAX_NAME).decode("ascii", "replace")
    names.append(name)
    if name not in wanted or name in found:
        return
    (word,) = struct.unpack(order + "I", flags[:4])
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    if word & 0xFF not in NUMERIC_CLASSES or word & COMPLEX:
        raise InputError(f"{path}: {name!r} is no array of real numbers (class {word & 0xFF}), wanted one")
    fits = len(shape) == len(wanted[name]) and all(w is None or n == w for n, w in zip(shape, wanted[name]))
    if not fits or min(shape) < 0:
        text = ", ".join("any" if n is None else str(n) for n in wanted[name])
        raise InputError(f"{path}: {name!r} has shape {shape}, wanted ({text})")
    found[name] = _values(stream, order, shape)


def _values(stream: Stream, order: str, shape: tuple[int, ...]) -> np.ndarray:
    tag = _take(stream, 8)
    kind, length = struct.unpack(order + "II", tag)
    inside = kind >> 16  # up to 4 bytes of values stand in the tag itself
    if inside:
        kind, length = kind & 0xFFFF, inside
    if kind not in NUMBERS:
        raise _Damaged(f"values have type {kind}")
    dtype = np.dtype(order + NUMBERS[kind])
    count = 1
    for n in shape:
        count *= n
    if length != count * dtype.itemsize or (inside and length > 4):
        raise _Damaged(f"{length} bytes of values for shape {shape} of {dtype}")
    if inside:
        return np.frombuffer(tag[4 : 4 + length], dtype).reshape(shape, order="F")
    if isinstance(stream, _Plain) and length > stream.left:
        raise _Damaged(f"{length} bytes of values, {stream.left} are there")
    if isinstance(stream, _Inflated) and length > stream.longest:
        raise _Damaged(f"{length} bytes of values, its compressed ones can hold {stream.longest}")
    values = np.empty(count, dtype)
    stream.fill(memoryview(values.view(np.uint8)))  # type: ignore[arg-type]
    return values.reshape(shape, order="F")


def _element(stream: Stream, order: str, wanted: int, longest: int) -> bytes:
    """The bytes of a small element of type ``wanted``."""
    tag = _take(stream, 8)
    kind, length = struct.unpack(order + "II", tag)
    if kind >> 16:
        kind, length = kind & 0xFFFF, kind >> 16
        if kind != wanted or length > 4:
            raise _Damaged(f"element has type {kind} and {length} bytes, wanted type {wanted}")
        return tag[4 : 4 + length]
    if kind != wanted or length > longest or (wanted == 6 and length < 8):
        raise _Damaged(f"element has type {kind} and {length} bytes, wanted type {wanted}")
    return _take(stream, length + -length % 8)[:length]


def _take(stream: Stream, length: int) -> bytes:
    taken = bytearray(length)
    stream.fill(memoryview(taken))
    return bytes(taken)
