"""Rows between the order of the input and that of a tree, with gathers in both directions.

The gradient of ``x[index]`` would sort the index and add up; here it is a gather as well, the same in every run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Reorder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor, kept: Tensor | None) -> Tensor:
        ctx.save_for_backward(back, kept)
        return x[there]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        back, kept = ctx.saved_tensors
        out = grad[back]
        if kept is not None:
            out = out.masked_fill(~kept.view(-1, *[1] * (grad.dim() - 1)), 0)
        return out, None, None, None


def reorder(x: Tensor, there: Tensor, back: Tensor, kept: Tensor | None = None) -> Tensor:
    """x[there], whose gradient is that of ``back``.

    Args:
        x: (N, ...).
        there: (S,) row of x for each row of the result.
        back: (N,) the row of the result that holds each row of x. Other rows of the result that are copies of it must
            have no gradient.
        kept: (N,) rows of x that the result holds, False for the others; None for all.
    """
    return _Reorder.apply(x, there, back, kept)
