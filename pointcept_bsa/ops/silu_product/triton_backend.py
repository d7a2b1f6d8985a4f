"""Launches of the silu product kernels, as custom operators of torch: ``pcbsa::silu_product`` and
``pcbsa::silu_halves``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.launch import power_of_2
from pointcept_bsa.ops.operator import operator

SIZE = 2048  # elements of a program


def unsupported(a: Tensor, b: Tensor) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"a, b: got {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}, wanted the same"
    return None


@operator("pcbsa::silu_product")
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


@operator("pcbsa::silu_product_backward")
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


def _tiles(rows: int, width: int) -> tuple[tuple[int, int], dict[str, int]]:
    columns = min(SIZE, power_of_2(width))
    tile = dict(WIDTH=width, ROWS=SIZE // columns, COLUMNS=columns)
    return (-(-rows // tile["ROWS"]), -(-width // columns)), tile


@operator("pcbsa::silu_halves")
def _halves(ab: Tensor) -> Tensor:
    from .kernels import halves_kernel

    ab = ab.contiguous()
    width = ab.shape[-1] // 2
    out = ab.new_empty((*ab.shape[:-1], width))
    rows = out.numel() // width
    grid, tile = _tiles(rows, width)
    with on_device_of(ab):
        halves_kernel[grid](ab, out, rows, **tile)
    return out


@_halves.register_fake
def _(ab: Tensor) -> Tensor:
    return ab.new_empty((*ab.shape[:-1], ab.shape[-1] // 2))


@operator("pcbsa::silu_halves_backward")
def _halves_backward(grad: Tensor, ab: Tensor) -> Tensor:
    from .kernels import halves_backward_kernel

    grad, ab = grad.contiguous(), ab.contiguous()
    width = grad.shape[-1]
    dab = torch.empty_like(ab)
    rows = grad.numel() // width
    grid, tile = _tiles(rows, width)
    with on_device_of(ab):
        halves_backward_kernel[grid](ab, grad, dab, rows, **tile)
    return dab


@_halves_backward.register_fake
def _(grad: Tensor, ab: Tensor) -> Tensor:
    return ab.new_empty(ab.shape)


def _keep_halves(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient_of_halves(ctx: Any, grad: Tensor) -> Tensor:
    dab: Tensor = _halves_backward(grad, *ctx.saved_tensors)
    return dab


_halves.register_autograd(_gradient_of_halves, setup_context=_keep_halves)


def silu_product_triton(a: Tensor, b: Tensor) -> Tensor:
    """As :func:`.silu_product`."""
    out: Tensor = _forward(a, b)
    return out


def silu_halves_triton(ab: Tensor) -> Tensor:
    """As :func:`.silu_halves`."""
    out: Tensor = _halves(ab)
    return out
