"""Repeated timed calls."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Timer = Callable[[Callable[[], Any]], float]  # runs the call, returns milliseconds


@dataclass(frozen=True)
class Timing:
    """Median and interquartile range, in milliseconds, of so many calls."""

    median_ms: float
    iqr_ms: float | None  # None: one call has no spread
    repeats: int


def cuda_timer(call: Callable[[], Any]) -> float:
    """Milliseconds between two events around ``call`` on an idle GPU: what its caller waits, launches included."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def cpu_timer(call: Callable[[], Any]) -> float:
    """Milliseconds by the clock."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def time_calls(
    call: Callable[[Any], Any], inputs: Sequence[Any], timer: Timer, warmup: int, repeats: int, budget_ms: float
) -> Timing:
    """Time ``call(input)``, taking the inputs in turn so that no cache keeps them all.

    ``warmup`` calls come first; they end early when they have used half of ``budget_ms``, of which the first call,
    that may compile or load something, uses nothing. Then ``repeats`` calls are timed, fewer if another one would
    exceed the budget, but at least one.
    """
    turn = itertools.cycle(inputs)
    spent = 0.0

    def once() -> float:
        given = next(turn)
        return timer(lambda: call(given))

    once()
    for _ in range(warmup - 1):
        if spent > budget_ms / 2:
            break
        spent += once()
    samples: list[float] = []
    while len(samples) < repeats and (not samples or spent + samples[-1] <= budget_ms):
        samples.append(once())
        spent += samples[-1]
    return summarize(samples)


def summarize(samples: Sequence[float]) -> Timing:
    """Median and interquartile range."""
    if len(samples) == 1:
        return Timing(samples[0], None, 1)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(median, high - low, len(samples))
