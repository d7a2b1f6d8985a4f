"""Reordering rows by a permutation whose inverse is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Permute(torch.autograd.Function):
    """x[permutation], whose gradient is a gather by the inverse: deterministic, and no scattered additions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, permutation: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(permutation, inverse)
        return x[permutation]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        permutation, inverse = ctx.saved_tensors
        return _Permute.apply(grad, inverse, permutation), None, None


def permute(x: Tensor, permutation: Tensor, inverse: Tensor) -> Tensor:
    """x[permutation] for x (S, ...), a permutation (S,) and its inverse (S,)."""
    return _Permute.apply(x, permutation, inverse)
