"""Where the time of a call goes that several processes do together: kernels, collectives, waiting for the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from pointcept_bsa.analysis.benchmark.report import number
from pointcept_bsa.analysis.benchmark.timing import Event, Kernel, kernels_of, profiled

TRANSPORTS = ("nccl", "gloo:")  # how kernels of collectives are called, and what stands for them on the CPU
COLLECTIVES = (*TRANSPORTS, "c10d::")
OPERATORS = "aten::"  # that compute, on the CPU: others only contain them, and may wait in between

Span = tuple[float, float]


@dataclass(frozen=True)
class Timeline:
    """Milliseconds of a call in one process.

    Attributes:
        span_ms: from the beginning of the first kernel to the end of the last.
        kernels_ms: in which at least one kernel runs (on the CPU an operator of torch), but for collectives.
        collectives_ms: in which at least one collective runs, and waits for the other processes.
        waits_ms: in which neither does: the device waits for the host.
    """

    span_ms: float
    kernels_ms: float
    collectives_ms: float
    waits_ms: float

    @property
    def hidden_ms(self) -> float:
        """In which a collective runs beside a kernel."""
        return max(0.0, self.kernels_ms + self.collectives_ms + self.waits_ms - self.span_ms)

    @property
    def own_ms(self) -> float:
        """In which the process does not wait for a collective: the slowest one has the most."""
        return self.kernels_ms + self.waits_ms

    def line(self) -> str:
        """In words."""
        return (
            f"{number(self.span_ms)} ms: kernels {number(self.kernels_ms)}, collectives "
            f"{number(self.collectives_ms)} ({number(self.hidden_ms)} of them beside kernels), the device waits for "
            f"the host {number(self.waits_ms)}"
        )


def profile_timeline(
    call: Callable[[], Any], device: torch.device, meet: Callable[[], Any] | None = None
) -> tuple[list[Kernel], Timeline]:
    """Of one call: as :func:`.profile_call`, and where its time goes.

    ``meet``: a collective in which the processes wait for each other, since their profilers do not start at the same
    time; what comes before its end does not count.
    """

    def met() -> None:
        if meet is not None:
            meet()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        call()

    events = profiled(met, device)
    if meet is not None:
        met_at = [event.time_range for event in events if event.name.startswith(TRANSPORTS)]
        begin = min(met_at, key=lambda span: span.start).end if met_at else 0.0
        events = [event for event in events if event.time_range.start >= begin]
    return kernels_of(events, device), timeline_of(events, device)


def timeline_of(events: Iterable[Event], device: torch.device) -> Timeline:
    """From what a profile has seen, see :func:`.profiled`."""
    spans: tuple[list[Span], list[Span]] = [], []
    events = list(events)
    # on the CPU a collective works in a thread of its own, with operators like any other
    theirs = {e.thread for e in events if e.name.startswith(TRANSPORTS)} if device.type == "cpu" else set()
    for event in events:
        sending = event.name.startswith(COLLECTIVES)
        if sending or device.type != "cpu" or (event.name.startswith(OPERATORS) and event.thread not in theirs):
            spans[sending].append((event.time_range.start, event.time_range.end))
    every = [*spans[0], *spans[1]]
    if not every:
        return Timeline(0.0, 0.0, 0.0, 0.0)
    span = max(end for _, end in every) - min(start for start, _ in every)
    kernels, collectives, busy = (covered(some) for some in (*spans, every))
    return Timeline(*(us / 1e3 for us in (span, kernels, collectives, span - busy)))


def covered(spans: Iterable[Span]) -> float:
    """The length of the union of spans."""
    total, upto = 0.0, float("-inf")
    for start, end in sorted(spans):
        if end > upto:
            total += end - max(start, upto)
            upto = end
    return total
