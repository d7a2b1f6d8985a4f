"""What ``torch.save`` wrote, read without running code: the one place that calls ``torch.load``."""

from __future__ import annotations

import os
import pickle
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointcept_bsa.errors import InputError

# What torch.load raises on files that are cut, damaged, foreign or hold more than tensors and plain containers.
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    ArithmeticError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


class _NumberType:
    """Stands for ``numpy.dtype``: the type of one number (``f8``, ``i4``, ``u1``, ``b1``) and its byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or np.dtype(code).kind not in "fiub":
            raise pickle.UnpicklingError(f"numpy's type {str(code)[:40]!r}: only plain numbers are read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


def _number(kind: _NumberType, data: bytes) -> int | float | bool:
    """Stands for numpy's function that makes a number of its bytes; the number becomes Python's."""
    if not isinstance(kind, _NumberType) or not isinstance(data, bytes) or len(data) != kind.dtype.itemsize:
        raise pickle.UnpicklingError("a damaged number of numpy's")
    return np.frombuffer(data, kind.dtype)[0].item()


def _standing_in(module: str, name: str, ours: Any) -> Any:
    """``ours`` under a name of numpy's, as torch looks it up."""
    stand_in = type(name, (ours,), {}) if isinstance(ours, type) else lambda *args: ours(*args)
    stand_in.__module__, stand_in.__name__, stand_in.__qualname__ = module, name, name
    return stand_in


# Numbers of numpy's, as Pointcept's evaluators leave one in best_metric_value: of numpy 2 and of numpy 1.
NUMBERS = [
    _standing_in("numpy", "dtype", _NumberType),
    _standing_in("numpy._core.multiarray", "scalar", _number),
    _standing_in("numpy.core.multiarray", "scalar", _number),
]


def read_checkpoint(path: str | Path, argument: str = "weight") -> Any:
    """What is in a file of ``torch.save``, on the CPU: tensors, numbers, texts and plain containers of these.

    Args:
        path: the file.
        argument: named in errors.

    Raises:
        InputError: no such file, a damaged or foreign one, one that holds anything else or announces more bytes than
            it has.
    """
    where = f"{argument}={str(path)!r}"
    if not os.path.isfile(path):
        raise InputError(f"{where}: no such file, wanted a checkpoint file of torch.save")
    try:
        _check_archive(path)
        with torch.serialization.safe_globals(NUMBERS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise InputError(f"{where}: not a readable checkpoint ({_what_is_foreign(error) or reason})") from error


def _what_is_foreign(error: Exception) -> str | None:
    """The name of what is no data, where torch's message has one."""
    _, found, rest = str(error).partition("Unsupported global: GLOBAL ")
    return f"it holds {rest.split()[0][:100]}, wanted tensors and plain values" if found and rest.split() else None


def _check_archive(path: str | Path) -> None:
    """Refuse what may announce more than the file holds: archives that are packed, and torch's format before 1.6."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("no archive as torch 1.6 and later write")
        with zipfile.ZipFile(file) as archive:
            announced = sum(member.file_size for member in archive.infolist())
    size = os.path.getsize(path)
    if announced > size:
        raise ValueError(f"announces {announced} bytes, has {size}")
