"""Files written whole or not at all: the one place that gives a file its name."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pointcept_bsa.errors import InputError

__all__ = ["replacing", "sync_folder", "write_csv", "write_file", "write_png", "write_text"]


@contextlib.contextmanager
def replacing(path: str | Path, before: Callable[[], object] | None = None) -> Iterator[BinaryIO]:
    """A file beside ``path`` to write to; on the disk and whole, it gets the name ``path``.

    Whatever ends the process, ``path`` holds its old or its new content. ``before`` is called in between.

    Raises:
        OSError: it cannot be written, or is there and no regular file (a folder, a device).
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        number = errno.EISDIR if path.is_dir() else errno.EPERM
        raise OSError(number, "it is a folder or a device, not a file", str(path))
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            before()
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # where it could not even be made
            temporary.unlink(missing_ok=True)


def write_file(path: str | Path, write: Callable[[BinaryIO], object], make_folder: bool = True) -> None:
    """Let ``write`` fill the file, in a folder that is made where it is not there; see :func:`replacing`.

    Raises:
        InputError: one line naming ``path``, where the folder or the file cannot be written.
    """
    path = Path(path)
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            write(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_text(path: str | Path, text: str) -> None:
    """:func:`write_file` of a text in UTF-8; what is no Unicode (bytes of file names) becomes ``?``."""
    write_file(path, lambda file: file.write(text.encode("utf-8", "replace")))


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """:func:`write_file` of a table."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_png(path: str | Path, figure: Any, dpi: int = 120, **options: Any) -> None:
    """:func:`write_file` of a figure of matplotlib, with further ``options`` of its ``savefig``."""
    write_file(path, lambda file: figure.savefig(file, format="png", dpi=dpi, **options))


def sync_folder(folder: Path) -> None:
    """Flush the folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
