"""Fetching and unpacking a public archive: resumable, verified, nothing outside the target folder."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import os
import shutil
import struct
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.files.progress import Progress

KNOWN_SHA256: dict[str, str] = {}  # archive name -> published sha256; none of the archives in use publishes one
CHUNK = 1 << 20
TIMEOUT = 60  # seconds without a byte
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
# Beyond these an archive is taken for one made to fill the disk.
MAX_BYTES = 1 << 40  # unpacked, in all
MAX_RATIO = 100  # unpacked over packed, of an archive beyond SMALL bytes unpacked (meshes in text come to 10)
SMALL = 1 << 30
MAX_FILES = 1_000_000
MAX_DEPTH = 3  # archives inside archives
# What the readers raise on archives that are damaged, encrypted or foreign; ValueError: names that are no paths.
DAMAGE: tuple[type[Exception], ...] = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error)
DAMAGE += (lzma.LZMAError, RuntimeError, NotImplementedError, ValueError, LookupError, ArithmeticError, struct.error)


def download(url: str, archive: Path) -> None:
    """Fetch ``url`` into ``archive``. An interrupted download is continued from ``<archive>.part``.

    Raises:
        InputError: no network, the server refuses, the connection ends early.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(archive.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            _receive(response, part, have)
    except urllib.error.HTTPError as error:
        if error.code == 416 and _total_size(error.headers) == have:
            error.close()  # the part is the whole file
        elif error.code == 416:
            part.unlink()
            raise InputError(f"--download: {part} did not belong to {url} and was removed; run again") from None
        else:
            raise InputError(f"--download: {url} answers {error.code} {error.reason}, wanted the archive") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"--download: cannot fetch {url} ({' '.join(str(reason).split())}); wanted a network connection: "
            "run again to continue, or fetch it elsewhere and give the unpacked folder as --src"
        ) from None
    os.replace(part, archive)


def _receive(response: http.client.HTTPResponse, part: Path, have: int) -> None:
    resumed = response.status == 206
    start = have if resumed else 0
    length = response.headers.get("Content-Length") or ""
    total = start + int(length) if length.isdigit() else None
    if total is not None:
        _refuse_too_large(total - start, part)
    progress = Progress("download", total, unit="B", start=start)
    with part.open("ab" if resumed else "wb") as file:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            progress.update(len(chunk))
    progress.close()
    if total is not None and progress.done != total:
        raise OSError(f"the connection ended after {progress.done} of {total} bytes")


def _refuse_too_large(size: int, path: Path) -> None:
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise InputError(f"{path}: {size:,} bytes are to come, wanted no more than the {free:,} free on that disk")


def _total_size(headers) -> int | None:
    """Read the size out of ``Content-Range: bytes */12345``."""
    size = (headers.get("Content-Range") or "").rpartition("/")[2]
    return int(size) if size.isdigit() else None


def verify(archive: Path) -> str:
    """Return a line about the archive's sha256 after comparing it with the known one.

    Where no checksum is published, the first run writes the computed one to ``<archive>.sha256`` and later runs
    compare with that.

    Raises:
        InputError: the archive is not the one it was.
    """
    computed = sha256_of(archive)
    record = archive.with_name(archive.name + ".sha256")
    wanted = KNOWN_SHA256.get(archive.name)
    if wanted is None and record.is_file():
        wanted = (record.read_text(encoding="utf-8").split() or [""])[0]
    if wanted is None:
        write_text(record, f"{computed}  {archive.name}\n")
        return f"sha256 of {archive.name}: {computed} (no published one to compare with; recorded in {record})"
    if computed != wanted:
        raise InputError(f"{archive}: sha256 is {computed}, wanted {wanted}; remove the file and run again")
    return f"sha256 of {archive.name}: {computed} (as expected)"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extract(archive: Path, folder: Path, wanted: Collection[str]) -> int:
    """Unpack the files whose names are in ``wanted``, also out of archives inside the archive; return how many.

    Args:
        archive: .zip, .tar, .tar.gz or .tgz.
        folder: where the paths inside the archive are rebuilt. It appears only when everything is unpacked.
        wanted: file names without folders.

    Raises:
        InputError: a damaged archive, a path that would leave ``folder``, nothing wanted found, more files, bytes or
            archives inside archives than any data set has (``MAX_...`` above), more bytes than the disk has left.
    """
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    try:
        count = _extract_into(archive, part, frozenset(wanted), Budget(archive))
    except BaseException:
        shutil.rmtree(part)
        raise
    if not count:
        shutil.rmtree(part)
        raise InputError(f"{archive}: holds none of the files {sorted(wanted)}, wanted the raw data")
    part.rename(folder)
    return count


class Budget:
    """What may still be unpacked of an archive; counted as it is written, since archives may lie about their sizes."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.bytes = min(MAX_BYTES, max(SMALL, MAX_RATIO * archive.stat().st_size))
        self.files = MAX_FILES

    def take(self, size: int) -> None:
        """Count ``size`` more bytes."""
        self.bytes -= size
        if self.bytes < 0:
            raise InputError(
                f"{self.archive}: unpacks to more than {MAX_RATIO} times its size, or {MAX_BYTES:,} bytes; "
                "wanted a data set, not an archive made to fill the disk"
            )

    def open_file(self) -> None:
        """Count one more file."""
        self.files -= 1
        if self.files < 0:
            raise InputError(f"{self.archive}: holds more than {MAX_FILES:,} files, wanted a data set")


def _extract_into(archive: Path, target: Path, wanted: frozenset[str], budget: Budget, depth: int = 0) -> int:
    count = 0
    if depth > MAX_DEPTH:
        raise InputError(f"{archive}: archives inside archives more than {MAX_DEPTH} deep, wanted a data set")
    progress = Progress(f"unpack {archive.name}", None, unit="files")
    try:
        for name, stream in _members(archive):
            base = PurePosixPath(name.replace("\\", "/")).name
            nested = base.endswith(ARCHIVES)
            if base.startswith("._") or not (nested or base in wanted):
                continue
            path = _inside(target, name, archive)
            path.parent.mkdir(parents=True, exist_ok=True)
            budget.open_file()
            with path.open("wb") as file:
                while chunk := stream.read(CHUNK):
                    budget.take(len(chunk))
                    file.write(chunk)
            if nested:
                count += _extract_into(path, path.parent, wanted, budget, depth + 1)
                path.unlink()
            else:
                count += 1
                progress.update()
    except InputError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{archive}: cannot be unpacked ({reason}), wanted a whole archive") from None
    progress.close()
    return count


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the regular files of an archive: links and devices are left out."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as bundle:
            for info in bundle.infolist():
                if info.filename and not info.is_dir():
                    with bundle.open(info) as stream:
                        yield info.filename, stream
        return
    with tarfile.open(archive) as bundle:
        for member in bundle:
            content = bundle.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content


def _inside(target: Path, name: str, archive: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    path = (target / Path(*parts)).resolve()
    if ".." in parts or not path.is_relative_to(target.resolve()):
        raise InputError(f"{archive}: member {name!r} would leave the target folder, wanted paths inside it")
    return path
