"""Mean of the points of each block."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["block_mean"]


def block_mean(x: Tensor, block_size: int, valid: Tensor | None = None) -> Tensor:
    """Mean over the real points of each block of ``l`` consecutive slots: see :func:`.reference.block_mean`."""
    why_not = triton_backend.unsupported(x, block_size) if triton_installed() else None
    if use_triton("block_mean", x, unsupported=why_not):
        return triton_backend.block_mean_triton(x, block_size, valid)
    return reference.block_mean(x, block_size, valid)
