"""Repeated timed calls."""

from __future__ import annotations

import datetime
import importlib.metadata
import itertools
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from pointcept_bsa.files.atomic import write_csv

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
    cycle = itertools.cycle(inputs)
    spent = 0.0

    def once() -> float:
        given = next(cycle)
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


# What a call spends its time on: kernels on CUDA, operators of torch on the CPU.

SHOWN, WIDTH = 12, 72  # of the printed table: lines, characters of a name
ANNOTATIONS = ("nccl:", "## ")  # of whole runs of kernels, or once more of one
Event = Any  # of torch.profiler


class Kernel(NamedTuple):
    """All launches of one kernel: how many, and the sum of their times."""

    name: str
    launches: int
    ms: float


def profile_call(call: Callable[[], Any], device: torch.device) -> list[Kernel]:
    """Kernels of one call, or its operators without those they call; the longest first. Kernels that a captured graph
    runs beside each other are all counted in full."""
    return kernels_of(profiled(call, device), device)


def profiled(call: Callable[[], Any], device: torch.device) -> list[Event]:
    """What the profiler sees of one call: kernels without the names that libraries give to some of them on CUDA,
    operators and what they call on the CPU."""
    on_cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as seen:
        call()
        if on_cuda:
            torch.cuda.synchronize(device)
    events = list(seen.events() or ())
    if on_cuda:
        events = [e for e in events if e.device_type == DeviceType.CUDA and not e.name.startswith(ANNOTATIONS)]
        events = [e for e in events if not e.is_user_annotation]
    return events


def kernels_of(events: Iterable[Event], device: torch.device) -> list[Kernel]:
    """The same kernels put together; the longest first."""
    found: dict[str, tuple[int, float]] = {}
    for event in events:
        launches, ms = found.get(event.name, (0, 0.0))
        spent = event.device_time if device.type == "cuda" else event.self_cpu_time_total
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


# What a benchmark ran on.

PACKAGES = ("triton", "numpy", "spconv-cu120", "spconv-cu126", "torch-scatter", "balltree-erwin", "pointcept_bsa")


def describe_environment(device: torch.device, dtype: str) -> dict[str, Any]:
    """Hardware, versions (None: not installed), the package's environment variables, dtype, date and command."""
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "device": gpu.name if gpu else _cpu_name(),
        "gpu_memory_gib": round(gpu.total_memory / 2**30, 1) if gpu else None,
        "compute_capability": f"{gpu.major}.{gpu.minor}" if gpu else None,
        "cpu": _cpu_name(),
        "cpu_threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {"torch": str(torch.__version__), **{name: _version(name) for name in PACKAGES}},
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith("PCBSA_")},
        "dtype": dtype,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """The model's name where the system tells (Linux), else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
