"""The product in the middle of a SwiGLU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

if triton_installed():
    from . import triton_backend

__all__ = ["silu_halves", "silu_product"]


def silu_product(a: Tensor, b: Tensor) -> Tensor:
    """silu(a) b, elementwise (Shazeer 2020, arXiv 2002.05202). The kernel keeps a and b alone for the gradient."""
    why_not = triton_backend.unsupported(a, b) if triton_installed() else None
    if use_triton("silu_product", a, b, unsupported=why_not):
        return triton_backend.silu_product_triton(a, b)
    return F.silu(a) * b


def silu_halves(ab: Tensor) -> Tensor:
    """silu(a) b of the halves a and b of the last axis: (..., 2 C) -> (..., C)."""
    if use_triton("silu_halves", ab, unsupported=None if ab.numel() else "ab: got no rows"):
        return triton_backend.silu_halves_triton(ab)
    a, b = ab.chunk(2, -1)
    return F.silu(a) * b
