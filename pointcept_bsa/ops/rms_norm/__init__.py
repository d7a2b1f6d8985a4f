"""Root mean square normalisation, alone and with what stands beside it in a transformer block."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["add_rms_norm", "placed_rms_norm", "rms_norm"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: see :func:`.reference.rms_norm`.

    The kernel exists for the gradient of the weight, which torch's own kernel sums slowly for many short rows.
    """
    why_not = triton_backend.unsupported(x) if triton_installed() else None
    if use_triton("rms_norm", x, weight, unsupported=why_not):
        return triton_backend.rms_norm_triton(x, weight, eps)
    return reference.rms_norm(x, weight, eps)


def add_rms_norm(x: Tensor, a: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + a in the type of x, (..., C), and its RMSNorm, by one kernel forward and one backward."""
    why_not = triton_backend.unsupported(x) if triton_installed() else None
    if use_triton("add_rms_norm", x, a, weight, unsupported=why_not):
        return triton_backend.add_rms_norm_triton(x, a, weight, eps)
    total = x + a
    return total, reference.rms_norm(total, weight, eps)


def placed_rms_norm(x: Tensor, weight: Tensor, eps: float, place: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """rms_norm(x) + matrix place + shift, by one kernel forward and one backward.

    Args:
        x: (..., C).
        weight: (C,).
        eps: added to the mean of squares.
        place: (..., d) coordinates, d up to 3; they have no gradient.
        matrix: (C, d).
        shift: (C,).
    """
    why_not = triton_backend.unsupported(x, place) if triton_installed() else None
    if use_triton("placed_rms_norm", x, weight, place, matrix, shift, unsupported=why_not):
        return triton_backend.placed_rms_norm_triton(x, weight, eps, place, matrix, shift)
    return rms_norm(x, weight, eps) + F.linear(place, matrix, shift)
