"""What calls leave behind."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

LOOKS, PAUSE = 3, 0.02  # s


def tensors_left(call: Callable[[], Any], warmup: int = 2, calls: int = 2) -> int:
    """How many more tensors are alive after ``calls`` calls that follow some others, without the garbage collector.

    Objects which refer to each other keep them: on a GPU they take memory until the collector happens to run.
    """
    gc.freeze()  # what there was before is not looked through: with torch, half a million objects
    gc.disable()
    try:
        for _ in range(warmup):  # caches fill
            call()
        gc.collect()
        before = _tensors()
        for _ in range(calls):
            call()
        return _tensors() - before
    finally:
        gc.enable()
        gc.unfreeze()


def _tensors() -> int:
    """As many as there are at the least for a while: threads that send hold theirs a moment longer."""
    counts = []
    for _ in range(LOOKS):
        counts.append(sum(issubclass(type(x), Tensor) for x in gc.get_objects()))
        time.sleep(PAUSE)
    return min(counts)
