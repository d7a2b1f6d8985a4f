"""Running a reader so that a hang, an allocation out of proportion or a write shows."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SECONDS = 10  # of one input
MEMORY = 3 << 30  # bytes of address space more than the process has

_WATCH: dict[str, list[str] | None] = {"seen": None}
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect", "ctypes.dlopen")


class Hang(BaseException):
    """An input took longer than ``SECONDS``; no reader may catch it."""


def _audit(event: str, arguments: tuple) -> None:
    seen = _WATCH["seen"]
    if seen is None:
        return
    if event == "open":
        path, mode, flags = (*arguments, None, None)[:3]
        writing = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        writing = writing or (
            mode is None and isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        )
        if writing and not str(path).endswith(".pyc") and "__pycache__" not in str(path):
            seen.append(f"wrote {path}")
    elif event in CHANGES or event in PROCESSES:
        folder = next((a for a in arguments[1:] if isinstance(a, int) and a > 2), None)  # a folder given by its number
        place = os.readlink(f"/proc/self/fd/{folder}") if folder in _open_files() else ""
        seen.append(f"{event} {place} {arguments}"[:300])


def _open_files() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd")}


sys.addaudithook(_audit)  # stays for good, idle outside ``watched``


@contextlib.contextmanager
def watched(folder: Path, seconds: float = SECONDS) -> Iterator[list[str]]:
    """Limit time and memory; the list tells of files written, processes started and the like outside ``folder``."""
    seen: list[str] = []

    def stop(number: int, frame: object) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    temporary, tempfile.tempdir = tempfile.tempdir, str(folder)  # mmengine copies a config there before it reads it
    _WATCH["seen"] = seen
    try:
        yield seen
    finally:
        _WATCH["seen"] = None
        tempfile.tempdir = temporary
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        seen[:] = [entry for entry in seen if str(folder) not in entry]
