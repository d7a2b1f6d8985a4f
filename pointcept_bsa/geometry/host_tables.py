"""Static tables, made on the host once and kept on the device.

A copy from the host makes the host wait for the device. The tables of a tree depend on the numbers of points alone,
so they are copied when a shape is seen first, and found again at every later step. A table lives as long as the
array it was made from; one that a captured CUDA graph reads, for good.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.dispatch import kept_for_graphs


class HostTable(np.ndarray):
    """An array that is never written to, and what was derived from it.

    Attributes:
        kept: what :func:`derived` made, by its keys. Slices and results of arithmetic begin with nothing.
    """

    kept: dict[Any, Any]

    def __array_finalize__(self, base: np.ndarray | None) -> None:
        self.kept = {}


def host_table(values: Any) -> HostTable:
    """The values as a table that keeps what is derived from it; a table is one already."""
    return values if isinstance(values, HostTable) else np.asarray(values).view(HostTable)


def derived(array: np.ndarray, key: Any, make: Callable[[], Any]) -> Any:
    """``make()``, kept under ``key`` with the table it is derived from; an array becomes a table itself.

    Raises:
        TypeError: an array that is no table, with which nothing would be kept.
    """
    if not isinstance(array, HostTable):
        raise TypeError(
            f"array: got a {type(array).__name__}, wanted a host_table, which keeps what is derived from it"
        )
    if key not in array.kept:
        made = make()
        array.kept[key] = host_table(made) if isinstance(made, np.ndarray) else made
    return array.kept[key]


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The table as a tensor on ``device``."""
    return kept_for_graphs(derived(array, device, lambda: torch.tensor(np.asarray(array), device=device)))


def integers(values: tuple[int, ...], device: torch.device) -> Tensor:
    """A few integers as a tensor on ``device``, copied when they are seen first."""
    return on_device(_integers(values), device)


@lru_cache(maxsize=128)
def _integers(values: tuple[int, ...]) -> HostTable:
    return host_table(np.asarray(values, np.int64))


def indices(mask: np.ndarray, value: bool, device: torch.device) -> Tensor:
    """Indices at which ``mask`` is ``value``, on ``device``."""
    return on_device(derived(mask, value, lambda: np.flatnonzero(mask == value)), device)
