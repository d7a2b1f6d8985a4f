"""One file, or several that are its parts in order, read at any place."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from pointcept_bsa.errors import InputError


class JoinedFile:
    """The bytes of ``paths`` one after the other; close it when done.

    Raises:
        InputError: a path that is no file, or cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._handles: list[int] = []
        self._starts = [0]
        try:
            for path in paths:
                if not path.is_file():
                    raise InputError(f"{path}: is no file, wanted a mesh file")
                self._handles.append(os.open(path, os.O_RDONLY))
                self._starts.append(self._starts[-1] + os.fstat(self._handles[-1]).st_size)
        except OSError as error:
            self.close()
            raise InputError(f"{paths[len(self._handles)]}: cannot be read ({error.strerror})") from None
        except InputError:
            self.close()
            raise

    @property
    def size(self) -> int:
        return self._starts[-1]

    def read(self, position: int, length: int) -> bytes:
        """``length`` bytes from ``position`` on, fewer at the end."""
        pieces = []
        while length > 0 and position < self.size:
            number = bisect_right(self._starts, position) - 1
            piece = os.pread(self._handles[number], min(length, 1 << 26), position - self._starts[number])
            if not piece:  # cut while it is read
                break
            pieces.append(piece)
            position, length = position + len(piece), length - len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        while self._handles:
            os.close(self._handles.pop())
