"""Static tables, made on the host once and kept on the device.

A copy from the host makes the host wait for the device. The tables of a tree depend on the numbers of points alone,
so they are copied when a shape is seen first, and found again at every later step. A table lives as long as the
array it was made from; one that a captured CUDA graph reads, for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.dispatch import kept_for_graphs

_kept: dict[int, dict[Any, Any]] = {}  # id of an array -> what was derived from it


def derived(array: np.ndarray, key: Any, make: Callable[[], Any]) -> Any:
    """``make()``, kept under ``key`` for as long as ``array`` lives. The array must not be written to."""
    if id(array) not in _kept:
        _kept[id(array)] = {}
        finalize(array, _kept.pop, id(array), None)
    kept = _kept[id(array)]
    if key not in kept:
        kept[key] = make()
    return kept[key]


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array as a tensor on ``device``."""
    return kept_for_graphs(derived(array, device, lambda: torch.tensor(array, device=device)))


def places(mask: np.ndarray, value: bool, device: torch.device) -> Tensor:
    """Indices at which ``mask`` is ``value``, on ``device``."""
    return on_device(derived(mask, value, lambda: np.flatnonzero(mask == value)), device)
