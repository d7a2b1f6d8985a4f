"""The SwiGLU of a transformer block in one operator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

if triton_installed():
    from . import triton_backend

__all__ = ["fits", "swiglu"]


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels take x and W_3: 16 bits, narrow, one matrix, in the type of the library's products. A layer
    that they do not take is faster by those products than here in plain torch."""
    return (
        triton_installed()
        and triton_backend.unsupported(x, len(weight)) is None
        and use_triton("swiglu", x)  # it raises where the kernels are asked for and cannot run
        and x.dtype == _type_of_products(x, weight)
    )


def _type_of_products(x: Tensor, weight: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def swiglu(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """W_3 (W_2 x + b_2) * silu(W_1 x + b_1) + b_3 of what :func:`fits`, as :func:`.reference.swiglu`.

    The kernels keep x alone for the backward pass, in which they compute the hidden values again: those are the largest
    there are in a block, 12 C numbers a row with ``mlp_ratio`` 4.

    Args:
        x: (N, C).
        weights: W_1, b_1, W_2, b_2, W_3, b_3. Matrices are cast to the type of x, as autocast would; biases are rounded
            to it, and may be of float32, in which their gradients then come.
    """
    return triton_backend.swiglu_triton(x, weights)
