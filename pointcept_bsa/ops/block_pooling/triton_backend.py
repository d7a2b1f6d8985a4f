"""Launches of the block mean kernels, as a custom operator of torch: ``pcbsa::block_mean``."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.launch import as_bytes
from pointcept_bsa.ops.operator import operator

ELEMENTS = 2048  # of the result in a program
MAX_CHANNELS, MAX_SIZE = 8192, 64


def unsupported(x: Tensor, block_size: int) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if block_size > MAX_SIZE:
        return f"block_size: got {block_size}, wanted at most {MAX_SIZE}"
    if math.prod(x.shape[1:]) > MAX_CHANNELS:
        return f"x: got {math.prod(x.shape[1:])} values a slot, wanted at most {MAX_CHANNELS}"
    return None


def _constants(slots: int, channels: int, block_size: int, masked: bool) -> tuple[int, dict[str, Any]]:
    columns = 1 << (channels - 1).bit_length()
    blocks = max(1, ELEMENTS // columns)
    grid = -(-(slots // block_size) // blocks)
    return grid, dict(SIZE=block_size, C=channels, COLUMNS=columns, MASK=masked, BLOCKS=blocks)


def _rows(x: Tensor) -> Tensor:
    """(S, ...) as (S, C); a copy only where the channels of a slot do not lie together."""
    numbers = math.prod(x.shape[1:])
    expected = [math.prod(x.shape[i + 1 :]) for i in range(1, x.dim())]
    if list(x.stride()[1:]) == expected:
        return x.as_strided((x.shape[0], numbers), (x.stride(0), 1))
    return x.reshape(x.shape[0], numbers)


@operator("pcbsa::block_mean")
def _forward(x: Tensor, valid: Tensor | None, block_size: int) -> Tensor:
    from .kernels import forward_kernel

    rows = _rows(x)
    out = x.new_empty((x.shape[0] // block_size, *x.shape[1:]))
    grid, constants = _constants(x.shape[0], rows.shape[1], block_size, valid is not None)
    mask = as_bytes(valid)
    with on_device_of(x):
        forward_kernel[(grid,)](rows, mask, out, out.shape[0], rows.stride(0), **constants)
    return out


@_forward.register_fake
def _(x: Tensor, valid: Tensor | None, block_size: int) -> Tensor:
    return x.new_empty((x.shape[0] // block_size, *x.shape[1:]))


@operator("pcbsa::block_mean_backward")
def _backward(grad: Tensor, valid: Tensor | None, block_size: int) -> Tensor:
    from .kernels import backward_kernel

    grad = grad.contiguous()
    slots = grad.shape[0] * block_size
    dx = grad.new_empty((slots, *grad.shape[1:]))
    grid, constants = _constants(slots, math.prod(grad.shape[1:]), block_size, valid is not None)
    mask = as_bytes(valid)
    with on_device_of(grad):
        backward_kernel[(grid,)](grad, mask, dx, grad.shape[0], **constants)
    return dx


@_backward.register_fake
def _(grad: Tensor, valid: Tensor | None, block_size: int) -> Tensor:
    return grad.new_empty((grad.shape[0] * block_size, *grad.shape[1:]))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, ctx.valid, ctx.block_size = inputs


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _backward(grad, ctx.valid, ctx.block_size), None, None


_forward.register_autograd(_gradient, setup_context=_keep)


def block_mean_triton(x: Tensor, block_size: int, valid: Tensor | None = None) -> Tensor:
    """As :func:`.reference.block_mean`, in one pass."""
    out: Tensor = _forward(x, valid, block_size)
    return out
