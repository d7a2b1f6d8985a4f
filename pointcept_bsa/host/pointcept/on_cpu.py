"""Pointcept moves everything with ``.cuda()``; here that leaves things where they are, on the CPU.

For trying things out and for tests, without mixed precision's loss scaling. Several processes (``--num-gpus``) talk
through gloo.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
import torch.distributed as dist


def stay_on_cpu(announce: bool = True) -> None:
    """For the rest of this process: ``.cuda()`` does nothing, autocast for CUDA is one for the CPU, loads go there."""

    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    for cls in (torch.Tensor, torch.nn.Module, torch.UntypedStorage):
        cls.cuda = _itself  # type: ignore[method-assign, assignment]
    torch.autocast = torch.amp.autocast = Autocast  # type: ignore[misc]
    torch.load = _loading_to_cpu(torch.load)
    torch.histc = _counting_integers(torch.histc)
    _spread_over_processes()
    if announce:
        print("--cpu: everything stays on the CPU; .cuda() does nothing in this process", file=sys.stderr)


def _spread_over_processes() -> None:
    """Let Pointcept's launcher, which asks for a GPU a process and NCCL, start processes on the CPU with gloo."""
    cuda, start, ddp = torch.cuda, dist.init_process_group, torch.nn.parallel.DistributedDataParallel
    available, count, set_device, init = cuda.is_available, cuda.device_count, cuda.set_device, ddp.__init__

    @functools.wraps(start)
    def start_gloo(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
        return start("gloo" if str(backend).lower() == "nccl" else backend, *args, **kwargs)

    @functools.wraps(init)
    def init_without_devices(self: Any, module: Any, *args: Any, **kwargs: Any) -> None:
        for name in ("device_ids", "output_device"):
            kwargs.pop(name, None)
        init(self, module, *args, **kwargs)

    dist.init_process_group = start_gloo
    ddp.__init__ = init_without_devices  # type: ignore[method-assign]
    cuda.is_available = lambda: _asked_by_launcher() or available()
    cuda.device_count = lambda: sys.maxsize if _asked_by_launcher() else count()
    cuda.set_device = lambda device: None if _asked_by_launcher() else set_device(device)


def _asked_by_launcher() -> bool:
    """Whether the function that called us was called by Pointcept's launcher; nobody else is told of GPUs."""
    return sys._getframe(2).f_globals.get("__name__") == "pointcept.engines.launch"


def _itself(thing: Any, *args: Any, **kwargs: Any) -> Any:
    return thing


def _counting_integers(histc: Any) -> Any:
    """On the CPU torch's histogram takes floats only; Pointcept gives it labels."""

    @functools.wraps(histc)
    def wrapped(values: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return histc(values if values.is_floating_point() else values.double(), *args, **kwargs)

    return wrapped


def _loading_to_cpu(load: Any) -> Any:
    @functools.wraps(load)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2:
            kwargs.setdefault("map_location", "cpu")
        return load(*args, **kwargs)

    return wrapped
