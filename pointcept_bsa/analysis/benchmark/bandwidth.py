"""How fast the processes that share clouds send to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from pointcept_bsa.analysis.benchmark.report import aligned, number
from pointcept_bsa.analysis.benchmark.timing import Timer, cpu_timer, cuda_timer, time_calls
from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.collectives import all_gather, all_to_all
from pointcept_bsa.host import comm

SIZES = {"cuda": (2**16, 2**24, 2**27), "cpu": (2**14, 2**22)}  # bytes that leave a process in a call
ALL_TO_ALL, ALL_GATHER = "all_to_all", "all_gather"
WARMUP, REPEATS = 3, 10
NAME = "bandwidth"  # for the count of bytes


@dataclass(frozen=True)
class Bandwidth:
    """One collective of R processes, each of which sends ``size`` bytes to the others; the slowest process's time."""

    processes: int
    collective: str
    size: int
    ms: float

    @property
    def gb_s(self) -> float:
        """10^9 bytes a second that leave a process."""
        return self.size / self.ms / 1e6


def begun_together(timer: Timer, device: torch.device) -> Timer:
    """The same timer, which first waits for the processes that share the clouds."""
    group = mesh.context_group()

    def timed(call: Callable[[], Any]) -> float:
        if group is not None:
            dist.all_reduce(torch.zeros(1, device=device), group=group)
        return timer(call)

    return timed


def timer_of(device: torch.device) -> Timer:
    """What times a call in which processes work together."""
    return begun_together(cuda_timer if device.type == "cuda" else cpu_timer, device)


def measure_bandwidth(processes: int, device: torch.device) -> list[Bandwidth]:
    """Both collectives at all ``SIZES``, of R of the processes; all of them call this."""
    mesh.create(processes, device.type)
    own = _measure(device) if comm.get_rank() < processes else None
    found = [each for each in comm.all_gather(own) if each is not None]
    mesh.create(1, device.type)
    return [
        Bandwidth(processes, collective, size, max(each[collective, size] for each in found))
        for collective, size in found[0]
    ]


def _measure(device: torch.device) -> dict[tuple[str, int], float]:
    group, processes, found = mesh.context_group(), mesh.context_size(), {}
    assert group is not None
    timer = timer_of(device)
    for size in SIZES[device.type]:
        rows = max(1, size // 4 // (processes - 1))  # of a float32, to each of the others
        for collective in (ALL_TO_ALL, ALL_GATHER):
            several = processes if collective == ALL_TO_ALL else 1
            x, each = torch.zeros(rows * several, device=device), [rows] * processes

            def call(x: torch.Tensor, collective: str = collective, each: list[int] = each) -> None:
                if collective == ALL_TO_ALL:
                    all_to_all(x, each, each, group, NAME)
                else:
                    all_gather(x, each, group, NAME)

            with torch.no_grad():
                timing = time_calls(call, [x], timer, WARMUP, REPEATS, float("inf"))
            found[collective, rows * 4 * (processes - 1)] = timing.median_ms
    return found


def seconds(found: Sequence[Bandwidth], collective: str, calls: float, size: float) -> float:
    """What so many calls take that send ``size`` bytes in all: between the measured sizes on a line, below them as long
    as the smallest, above them at the speed of the largest."""
    if not calls:
        return 0.0
    own = sorted((each for each in found if each.collective == collective), key=lambda each: each.size)
    each = size / calls
    if each <= own[0].size:
        ms = own[0].ms
    elif each >= own[-1].size:
        ms = own[-1].ms * each / own[-1].size
    else:
        above = next(i for i, one in enumerate(own) if one.size > each)
        low, high = own[above - 1], own[above]
        ms = low.ms + (high.ms - low.ms) * (each - low.size) / (high.size - low.size)
    return calls * ms / 1e3


def bandwidth_table(rows: Sequence[Bandwidth]) -> str:
    """A Markdown table."""
    cells = [["collective", "R", "MiB", "ms", "GB/s"]]
    cells += [[r.collective, str(r.processes), number(r.size / 2**20), number(r.ms), number(r.gb_s)] for r in rows]
    return "\n".join([*aligned(cells), "", "bytes that leave a process, and the time of the slowest"])
