"""Files with their checksums beside them.

At every moment, whatever kills the process or the machine, a path holds its old or its new content, and its checksum
file (``<name>.sha256``, as ``sha256sum -c`` reads it) lists the sum of that content. While a file is replaced the
checksum file has two lines, of the old and of the new content; a damaged file matches neither.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from pointcept_bsa.files.atomic import replacing, sync_folder

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


def write_checked(path: str | Path, write: Callable[[Hashing], object]) -> None:
    """Let ``write`` fill the file, whole or not at all, with the checksum beside it. Raises ``OSError``."""
    path = Path(path)
    hashing: list[Hashing] = []
    with replacing(path, lambda: _announce(path, _sums(hashing))) as file:
        hashing.append(Hashing(file))
        write(hashing[0])
    _write_checksums(path, _sums(hashing))


def link_checked(source: Path, path: Path) -> None:
    """Give a finished file a second name, with its checksums; copies where the file system has no hard links."""
    sums = read_checksums(source)
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)
        os.link(source, temporary)
        _announce(path, sums)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with open(source, "rb") as original, replacing(path, lambda: _announce(path, sums)) as file:
            shutil.copyfileobj(original, file, 1 << 20)
    finally:
        temporary.unlink(missing_ok=True)
    _write_checksums(path, sums)


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


def _sums(hashing: list[Hashing]) -> list[str]:
    return [each.sum.hexdigest() for each in hashing]


def _announce(path: Path, sums: list[str]) -> None:
    """Note the sums of the old and of the new file until it is renamed. A file that had none gets one only then."""
    old = read_checksums(path)
    if old or not path.exists():
        _write_checksums(path, [*sums, *old])


def _write_checksums(path: Path, sums: list[str]) -> None:
    if not sums:
        checksum_path(path).unlink(missing_ok=True)
        return
    with replacing(checksum_path(path)) as file:
        file.write("".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(sums)).encode())
