"""Pointcept moves everything with ``.cuda()``; here that leaves things where they are, on the CPU.

For trying things out and for tests. One process only, without mixed precision's loss scaling.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch


def stay_on_cpu(announce: bool = True) -> None:
    """For the rest of this process: ``.cuda()`` does nothing, autocast for CUDA is one for the CPU, loads go there."""

    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    for cls in (torch.Tensor, torch.nn.Module, torch.UntypedStorage):
        cls.cuda = _itself  # type: ignore[method-assign, assignment]
    torch.autocast = torch.amp.autocast = Autocast  # type: ignore[misc]
    torch.load = _loading_to_cpu(torch.load)
    if announce:
        print("--cpu: everything stays on the CPU; .cuda() does nothing in this process", file=sys.stderr)


def _itself(thing: Any, *args: Any, **kwargs: Any) -> Any:
    return thing


def _loading_to_cpu(load: Any) -> Any:
    @functools.wraps(load)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2:
            kwargs.setdefault("map_location", "cpu")
        return load(*args, **kwargs)

    return wrapped
