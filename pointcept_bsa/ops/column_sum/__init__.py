"""Sums over the rows of a matrix: the gradient of a bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

if triton_installed():
    from . import triton_backend

__all__ = ["column_sum", "with_bias_gradient"]


def column_sum(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Sum of (..., C) over all axes but the last, (C,), taken in float32 or better and given as ``dtype`` (None: so).

    The kernel exists because torch reduces many short rows at a tenth of the memory's speed.
    """
    wide = x.dtype if x.dtype.itemsize > 2 else torch.float32
    why_not = triton_backend.unsupported(x) if triton_installed() else None
    if use_triton("column_sum", x, unsupported=why_not):
        return triton_backend.column_sum_triton(x, dtype or wide)
    return x.to(wide).flatten(0, -2).sum(0).to(dtype or wide)


def with_bias_gradient(y: Tensor, biases: Sequence[Tensor]) -> Tensor:
    """y (..., C) itself, which holds ``biases`` already: they, one behind the other (C,), get the column sums of its
    gradient, in their own type. Nothing happens without any."""
    out: Tensor = _BiasGradient.apply(y, *biases) if biases else y
    return out


class _BiasGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, *biases: Tensor) -> Tensor:
        ctx.sizes, ctx.dtype = [len(bias) for bias in biases], biases[0].dtype
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        (grad,) = grads
        total = column_sum(grad, ctx.dtype)
        return grad, *(total.split(ctx.sizes) if len(ctx.sizes) > 1 else [total])
