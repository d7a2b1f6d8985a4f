"""Memory: how much a process took, and a word about what to lower when there is not enough."""

from __future__ import annotations

import contextlib
import resource  # Unix only, as is the embedded host's process launch
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.samples import lengths

# How the allocators of the CPU, CUDA and its libraries say it in a plain RuntimeError.
SIGNS = (
    "CUDA out of memory",
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class OutOfMemory(InputError):
    """The work does not fit the device's memory; the message says how large it was and what to lower."""


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process in MiB: of the allocator on CUDA, resident otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on a device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


@contextlib.contextmanager
def memory_watched(
    where: str, batch: Mapping[str, Any], device: torch.device, advice: Callable[[], str]
) -> Iterator[None]:
    """A context in which running out of memory is an ``OutOfMemory`` that tells sizes and ``advice``."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"out of memory in {where}: {describe(batch)}; {describe_use(device)}; {advice()}") from error


def describe(batch: Mapping[str, Any]) -> str:
    """Clouds and points of a batch."""
    if "offset" not in batch or "coord" not in batch:
        return f"batch of {sorted(batch)}"
    points = lengths(batch)
    return f"batch of {len(points)} clouds, {sum(points):,} points, {max(points):,} in the largest"


def describe_use(device: torch.device) -> str:
    """Peak memory of this process on its device."""
    peak = f"peak {peak_memory_mb(device):,.0f} MiB"
    if device.type != "cuda":
        return f"{peak} of this process"
    properties = torch.cuda.get_device_properties(device)
    return f"{peak} of {properties.total_memory / 2**20:,.0f} MiB on {properties.name}"
