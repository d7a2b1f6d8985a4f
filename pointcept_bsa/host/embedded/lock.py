"""One training at a time in a folder: a lock that the operating system takes back however the training ends.

The lock is ``flock`` of ``{folder}/.lock``, whose text names who has it. It belongs to the process, not to those that
it forks: a worker that outlives a killed training must not keep the folder from the one that goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.logger import get_root_logger

NAME = ".lock"
_held: dict[Path, IO[str]] = {}


def lock_folder(folder: str | Path) -> None:
    """Take the lock of a folder that exists, until ``unlock_folders`` or the end of this process; twice is once.

    A file system without locks is said in a warning. Raises ``InputError`` if another process has the lock, or if
    nothing can be written there.
    """
    key = Path(folder).resolve()
    if key in _held:
        return
    try:
        file = open(key / NAME, "a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"save_path={str(folder)!r}: cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read(200).strip() or "another process"
        file.close()
        raise InputError(
            f"save_path={str(folder)!r}: {owner} is training into this folder; wait for its end or name another "
            f"save_path"
        ) from error
    except OSError as error:
        file.close()
        get_root_logger().warning(
            f"{folder} cannot be locked ({error.strerror}): a second training into it would NOT be noticed"
        )
        return
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    _held[key] = file


def unlock_folders() -> None:
    """Let go of every lock of this process."""
    for file in _held.values():
        with contextlib.suppress(OSError):
            file.close()
    _held.clear()


os.register_at_fork(after_in_child=unlock_folders)  # closes the child's copy; the lock stays the parent's
