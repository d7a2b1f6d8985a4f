"""Files written whole or not at all, with their checksums beside them.

At every moment, whatever kills the process or the machine, a path holds its old or its new content, and its checksum
file (``<name>.sha256``, as ``sha256sum -c`` reads it) lists the sum of that content. While a file is replaced the
checksum file has two lines, of the old and of the new content; a damaged file matches neither.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)


class Hashing(io.RawIOBase):
    """A writable file that sums up what passes through it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sum = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sum.update(data)
        return self.file.write(data)


def write_atomic(path: str | Path, write: Callable[[Hashing], object]) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to the disk, then give it the name ``path``."""
    with _new_file(Path(path), write) as (temporary, _):
        _rename(temporary, Path(path))


def write_text_atomic(path: str | Path, text: str) -> None:
    """``write_atomic`` of a text."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_checked(path: str | Path, write: Callable[[Hashing], object]) -> None:
    """``write_atomic`` with the checksum beside it."""
    path = Path(path)
    with _new_file(path, write) as (temporary, digest):
        _replace_checked(temporary, path, [digest])


def link_checked(source: Path, path: Path) -> None:
    """Give a finished file a second name, with its checksums; copies where the file system has no hard links."""
    temporary = _temporary(path)
    try:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with open(source, "rb") as original, open(temporary, "wb") as file:
                while chunk := original.read(1 << 20):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        _replace_checked(temporary, path, read_checksums(source))
    finally:
        temporary.unlink(missing_ok=True)


def remove_checked(path: Path) -> None:
    """Remove a file and its checksum."""
    path.unlink(missing_ok=True)
    checksum_path(path).unlink(missing_ok=True)


def checksum_path(path: Path) -> Path:
    """``model_last.pth`` -> ``model_last.pth.sha256``."""
    return path.with_name(path.name + ".sha256")


def read_checksums(path: Path) -> list[str]:
    """The sums noted for ``path``; none if it has no checksum file."""
    try:
        text = checksum_path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [words[0] for words in map(str.split, text.splitlines()) if words]


def is_intact(path: Path) -> bool:
    """Whether the file exists and is the one its checksum was taken of; without a checksum, whether it exists."""
    if not path.is_file():
        return False
    sums = read_checksums(path)
    if not sums:
        return True
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() in sums


def sync_folder(folder: Path) -> None:
    """Flush the folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _new_file(path: Path, write: Callable[[Hashing], object]) -> Iterator[tuple[Path, str]]:
    """A temporary file that ``write`` has filled and that is on the disk, and its sum; removed in the end."""
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            hashing = Hashing(file)
            write(hashing)
            file.flush()
            os.fsync(file.fileno())
        yield temporary, hashing.sum.hexdigest()
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")


def _rename(temporary: Path, path: Path) -> None:
    os.replace(temporary, path)
    sync_folder(path.parent)


def _replace_checked(temporary: Path, path: Path, sums: list[str]) -> None:
    """Rename, with the sums of both files valid meanwhile. A file that had no sum gets one only afterwards."""
    old = read_checksums(path)
    if old or not path.exists():
        _write_checksums(path, [*sums, *old])
    _rename(temporary, path)
    _write_checksums(path, sums)


def _write_checksums(path: Path, sums: list[str]) -> None:
    if not sums:
        checksum_path(path).unlink(missing_ok=True)
        return
    write_text_atomic(checksum_path(path), "".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(sums)))
