"""How long tests wait for what ought to come: only what hangs takes so long, however slow or busy the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess

PATIENCE = 600.0  # s


def exit_codes(running: Sequence[BaseProcess]) -> list[int | None]:
    """Exit codes of processes, once all have ended; those that hang are killed."""
    until = time.monotonic() + PATIENCE
    for process in running:
        process.join(max(until - time.monotonic(), 0.0))
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in running]


def wait_for(condition: Callable[[], bool]) -> None:
    """Until ``condition()`` holds."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited {PATIENCE:.0f} s in vain"
        time.sleep(0.05)
