"""Sums over the rows of a matrix: the gradient of a bias."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

if triton_installed():
    from . import triton_backend

__all__ = ["column_sum"]


def column_sum(x: Tensor) -> Tensor:
    """Sum of (..., C) over all axes but the last, (C,), in float32 or better.

    The kernel exists because torch reduces many short rows at a tenth of the memory's speed.
    """
    why_not = triton_backend.unsupported(x) if triton_installed() else None
    if use_triton("column_sum", x, unsupported=why_not):
        return triton_backend.column_sum_triton(x)
    wide = x if x.dtype.itemsize > 2 else x.float()
    return wide.flatten(0, -2).sum(0)
