"""Faults of data loading told in one line, also where a loading process sent them wrapped in its stack trace."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch.distributed as dist

from pointcept_bsa.errors import InputError, raised_message
from pointcept_bsa.training.processes.interruption import ignore_ended_children


class DeadWorkerError(InputError):
    """A process that loads data has died."""


def plain_message(error: BaseException) -> str:
    """The message alone, in one line."""
    return " ".join(raised_message(str(error) or type(error).__name__).split())


def first_cause(error: BaseException, wanted: Callable[[BaseException], bool]) -> BaseException | None:
    """``error``, or what it was raised from or during, whichever first is ``wanted``; None if none is."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen and not wanted(found):
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return None if found is None or id(found) in seen else found


def is_dead_worker(error: BaseException) -> bool:
    """Whether torch says that one of its loading processes has ended; it may say so at any place of the main one."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker")


def dead_worker(error: BaseException) -> DeadWorkerError:
    """The same in our words. torch, which may have noticed it by a broken pipe first, is kept from telling it again."""
    ignore_ended_children()
    return DeadWorkerError(
        f"num_worker: a process that loads data has died ({plain_message(error)}); out of memory, out of shared memory "
        f"(/dev/shm), or killed; lower num_worker, or 0 to load in the main process; earlier checkpoints are intact"
    )


def is_lost_process(error: BaseException) -> bool:
    """Whether torch says that another process of the run does not answer any more."""
    lost = isinstance(error, dist.DistNetworkError | dist.DistBackendError)
    return lost or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def lost_process(error: BaseException) -> InputError:
    """The same in our words."""
    return InputError(
        f"another process of this run has ended, or cannot be reached ({plain_message(error)[:200]}); what it says "
        f"itself is the cause; earlier checkpoints are intact; torchrun --max-restarts=N would go on from the last"
    )


def guarded(batches: Iterable[Any], path: str, workers: int) -> Iterator[Any]:
    """``batches`` of the data set ``path``; a lost folder or a dead process is an ``InputError``.

    What a loading process raises comes with a text that says so. Any other fault of reading, where there are such
    processes, is that of the pipe to one that is no more.
    """
    try:
        yield from batches
    except (OSError, EOFError) as error:
        lost_pipe = workers > 0 and "DataLoader worker process" not in str(error)
        if lost_pipe and getattr(error, "errno", None) not in (errno.EMFILE, errno.ENFILE):
            raise dead_worker(error) from error
        raise InputError(f"{path}: data cannot be read: {plain_message(error)}") from error
    except RuntimeError as error:
        if not is_dead_worker(error):
            raise
        raise dead_worker(error) from error
