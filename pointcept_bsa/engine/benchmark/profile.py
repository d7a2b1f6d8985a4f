"""What a call spends its time on: kernels on CUDA, operators of torch on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from pointcept_bsa.files.atomic import write_csv

SHOWN, WIDTH = 12, 72  # of the printed table: lines, characters of a name


class Kernel(NamedTuple):
    """All launches of one kernel: how many, and the sum of their times."""

    name: str
    launches: int
    ms: float


def profile_call(call: Callable[[], Any], device: torch.device) -> list[Kernel]:
    """Kernels of one call, or its operators without those they call; the longest first. Kernels that a captured graph
    runs beside each other are all counted in full."""
    on_cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as seen:
        call()
        if on_cuda:
            torch.cuda.synchronize(device)
    found: dict[str, tuple[int, float]] = {}
    for event in seen.events() or ():
        if on_cuda and event.device_type != DeviceType.CUDA:
            continue
        launches, ms = found.get(event.name, (0, 0.0))
        spent = event.device_time if on_cuda else event.self_cpu_time_total
        found[event.name] = launches + 1, ms + spent / 1e3
    return sorted((Kernel(name, *rest) for name, rest in found.items()), key=lambda kernel: -kernel.ms)


@dataclass(frozen=True)
class Profile:
    """One part (forward, train) of one case."""

    name: str
    points: int
    mode: str
    part: str
    kernels: Sequence[Kernel]

    def table(self) -> str:
        """The longest, and the sum of all."""
        launches, ms = (sum(column) for column in list(zip(*self.kernels, strict=True))[1:])
        lines = [f"{self.name} {self.mode} N={self.points:,}, {self.part}: {launches} launches, {ms:.3f} ms in sum"]
        lines += [f"{k.ms:11.3f} ms {k.ms / ms:6.1%} x{k.launches:6d}  {k.name[:WIDTH]}" for k in self.kernels[:SHOWN]]
        return "\n".join(lines)


def write_profiles(path: Path, profiles: Sequence[Profile]) -> None:
    """A CSV: config, points, mode, part, kernel, launches, ms."""
    rows = [[p.name, p.points, p.mode, p.part, *kernel] for p in profiles for kernel in p.kernels]
    write_csv(path, ["config", "points", "mode", "part", "kernel", "launches", "ms"], rows)
