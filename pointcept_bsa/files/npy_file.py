"""Writing ``.npy`` files.

To a real file numpy writes with the C library, closes it and does not look: on a full disk the file is cut short and no
error comes. Through Python's own ``write`` it comes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pointcept_bsa.errors import InputError


class _Written:
    """Of a file what numpy calls of one that is none of Python's."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self.write = write


def write_npy(file: BinaryIO, values: np.ndarray) -> None:
    """``values`` as the content of an open file. Raises ``OSError``."""
    np.save(_Written(file.write), values, allow_pickle=False)


def save_npy(path: Path, values: np.ndarray) -> None:
    """``values`` as the file ``path``, in place. Raises ``InputError`` where it cannot be written."""
    try:
        with open(path, "wb") as file:
            write_npy(file, values)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


class NpyRows:
    """A file ``path`` of an array (rows, columns) that is written in place, rows in any order; close it when done.

    Raises:
        InputError: it cannot be made; in what follows: cannot be written or read.
    """

    def __init__(self, path: Path, rows: int, columns: int, dtype: str) -> None:
        self.path, self.shape, self.dtype = path, (rows, columns), np.dtype(dtype)
        try:
            self._file = open(path, "w+b", buffering=0)
            header = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(_Written(self._file.write), header)
            self._start = self._file.tell()
            self._file.truncate(self._start + rows * columns * self.dtype.itemsize)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error

    def write(self, row: int, values: np.ndarray) -> None:
        """``values`` (n, columns) from ``row`` on."""
        content = memoryview(np.ascontiguousarray(values, self.dtype).tobytes())
        position = self._position(row)
        try:
            while content:
                written = os.pwrite(self._file.fileno(), content, position)
                content, position = content[written:], position + written
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error

    def read(self, row: int, count: int) -> np.ndarray:
        """``count`` rows from ``row`` on."""
        wanted, position = count * self.shape[1] * self.dtype.itemsize, self._position(row)
        try:
            content = os.pread(self._file.fileno(), wanted, position)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from error
        return np.frombuffer(content, self.dtype).reshape(count, self.shape[1])

    def close(self) -> None:
        self._file.close()

    def _position(self, row: int) -> int:
        return self._start + row * self.shape[1] * self.dtype.itemsize
