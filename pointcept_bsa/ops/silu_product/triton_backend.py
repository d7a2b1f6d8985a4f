"""Launches of the silu product kernels, as a custom operator of torch: ``pcbsa::silu_product``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of

SIZE = 2048  # elements of a program


def unsupported(a: Tensor, b: Tensor) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"a, b: got {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}, wanted the same"
    return None


@torch.library.custom_op("pcbsa::silu_product", mutates_args=())
def _forward(a: Tensor, b: Tensor) -> Tensor:
    from .kernels import forward_kernel

    a, b = a.contiguous(), b.contiguous()
    out = torch.empty_like(a)
    with on_device_of(a):
        forward_kernel[(-(-a.numel() // SIZE),)](a, b, out, a.numel(), SIZE=SIZE)
    return out


@_forward.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape)


@torch.library.custom_op("pcbsa::silu_product_backward", mutates_args=())
def _backward(grad: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    from .kernels import backward_kernel

    grad, a, b = grad.contiguous(), a.contiguous(), b.contiguous()
    da, db = torch.empty_like(a), torch.empty_like(b)
    with on_device_of(a):
        backward_kernel[(-(-a.numel() // SIZE),)](a, b, grad, da, db, a.numel(), SIZE=SIZE)
    return da, db


@_backward.register_fake
def _(grad: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    return _backward(grad, *ctx.saved_tensors)


_forward.register_autograd(_gradient, setup_context=_keep)


def silu_product_triton(a: Tensor, b: Tensor) -> Tensor:
    """As :func:`.silu_product`."""
    out: Tensor = _forward(a, b)
    return out
