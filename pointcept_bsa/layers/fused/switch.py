"""The one switch between the plain layers and the fused ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from pointcept_bsa.dispatch import choice

_wanted: bool | None = None


def fused(x: object) -> bool:
    """Whether the fused version of a layer takes x: on CUDA, unless ``PCBSA_OPS=reference``; always what it made."""
    if not isinstance(x, Tensor):
        return True
    return x.is_cuda and choice() != "reference" if _wanted is None else _wanted


@contextmanager
def switched(on: bool) -> Iterator[None]:
    """Within, the switch stands so on every device: for comparisons."""
    global _wanted
    before, _wanted = _wanted, on
    try:
        yield
    finally:
        _wanted = before
