"""Writing ``.npy`` files.

To a real file numpy writes with the C library, closes it and does not look: on a full disk the file is cut short and no
error comes. Through Python's own ``write`` it comes.
"""

from __future__ import annotations

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
