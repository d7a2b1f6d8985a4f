"""MLP over the points of each block, side by side: phi of BSA eq. 5 and 13."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["block_mlp"]


def block_mlp(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    block_size: int,
    valid: Tensor | None = None,
) -> Tensor:
    """Linear, ReLU, Linear over the ``l`` slots of each block: see :func:`.reference.block_mlp`.

    The kernels keep nothing of the hidden layer, and take 4 launches where plain torch takes 20.
    """
    why_not = triton_backend.unsupported(x, weight1, block_size) if triton_installed() else None
    if use_triton("block_mlp", x, unsupported=why_not):
        return triton_backend.block_mlp_triton(x, weight1, bias1, weight2, bias2, block_size, valid)
    return reference.block_mlp(x, weight1, bias1, weight2, bias2, block_size, valid)
