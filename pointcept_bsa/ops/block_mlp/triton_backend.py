"""Launches of the block MLP kernels, as a custom operator of torch: ``pcbsa::block_mlp``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import interpreted, on_device_of
from pointcept_bsa.ops.launch import as_bytes, power_of_2, precision

MAX_INPUTS = 256  # l D
ROWS, HIDE = 64, 64  # of a tile
PROGRAMS = 64  # over the rows, of the kernel that sums up the gradients of the weights


def unsupported(x: Tensor, weight1: Tensor, block_size: int) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if block_size * x.shape[2] > MAX_INPUTS:
        return f"x: got {block_size * x.shape[2]} values a block and head, wanted at most {MAX_INPUTS}"
    if weight1.shape[0] % 16:
        return f"weight1: got {weight1.shape[0]} hidden units, wanted a multiple of 16"
    return None


def _arguments(
    x: Tensor, weight1: Tensor, weight2: Tensor, block_size: int, masked: bool
) -> tuple[int, dict[str, Any]]:
    slots, heads, width = x.shape
    rows_at_once = ROWS if x.dtype != torch.float32 else ROWS // 2
    constants = dict(
        HEADS=heads,
        SIZE=block_size,
        D=width,
        WIDTH=power_of_2(block_size * width, 16),
        M=weight1.shape[0],
        OUTS=weight2.shape[0],
        OUTS_UP=power_of_2(weight2.shape[0], 16),
        MASK=masked,
        ROWS=rows_at_once,
        HIDE=min(HIDE if x.dtype != torch.float32 else HIDE // 2, power_of_2(weight1.shape[0], 16)),
        PRECISION=precision(),
        UPCAST=interpreted() and x.dtype != torch.float32,
        num_warps=4 if block_size * width <= 128 else 8,
    )
    return slots // block_size * heads, constants


def _prepared(x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
    x = x if x.stride(2) == 1 else x.contiguous()
    return x, as_bytes(valid)


@torch.library.custom_op("pcbsa::block_mlp", mutates_args=())
def _forward(
    x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, block_size: int, valid: Tensor | None
) -> Tensor:
    from .kernels import forward_kernel

    x, mask = _prepared(x, valid)
    rows, constants = _arguments(x, weight1, weight2, block_size, valid is not None)
    out = x.new_empty((x.shape[0] // block_size, x.shape[1], weight2.shape[0]))
    weights = (t.contiguous() for t in (weight1, bias1, weight2, bias2))
    with on_device_of(x):
        forward_kernel[(-(-rows // constants["ROWS"]),)](
            x, mask, *weights, out, rows, x.stride(0), x.stride(1), **constants
        )  # fmt: skip
    return out


@_forward.register_fake
def _(
    x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, block_size: int, valid: Tensor | None
) -> Tensor:
    return x.new_empty((x.shape[0] // block_size, x.shape[1], weight2.shape[0]))


@torch.library.custom_op("pcbsa::block_mlp_backward", mutates_args=())
def _backward(
    grad: Tensor, x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, block_size: int, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradient of x, and those of W_1, b_1, W_2, b_2 behind each other in float32."""
    from .kernels import input_gradient_kernel, weight_gradient_kernel

    x, mask = _prepared(x, valid)
    grad = grad.contiguous()
    weight1, bias1, weight2 = (t.contiguous() for t in (weight1, bias1, weight2))
    rows, constants = _arguments(x, weight1, weight2, block_size, valid is not None)
    tiles = -(-rows // constants["ROWS"])
    parts = -(-tiles // PROGRAMS)
    programs = -(-tiles // parts)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    outs = weight2.shape[0]
    sums = torch.empty(
        programs, weight1.numel() + bias1.numel() + weight2.numel() + outs, dtype=torch.float32, device=x.device
    )
    shared = (x, mask, weight1, bias1, weight2, grad)
    with on_device_of(x):
        input_gradient_kernel[(tiles,)](*shared, dx, rows, x.stride(0), x.stride(1), **constants)
        weight_gradient_kernel[(programs, -(-weight1.shape[0] // constants["HIDE"]))](
            *shared, sums, rows, x.stride(0), x.stride(1), parts, **constants
        )  # fmt: skip
    return dx, sums.sum(0)


@_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, block_size: int, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    total = weight1.numel() + bias1.numel() + weight2.numel() + weight2.shape[0]
    return torch.empty(x.shape, dtype=x.dtype, device=x.device), x.new_empty(total, dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight1, bias1, weight2, _, ctx.block_size, valid = inputs
    ctx.save_for_backward(x, weight1, bias1, weight2, valid)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight1, bias1, weight2, valid = ctx.saved_tensors
    dx, dweights = _backward(grad, x, weight1, bias1, weight2, ctx.block_size, valid)
    sizes = [weight1.numel(), bias1.numel(), weight2.numel(), weight2.shape[0]]
    dw1, db1, dw2, db2 = dweights.to(weight1.dtype).split(sizes)
    return dx, dw1.view_as(weight1), db1, dw2.view_as(weight2), db2, None, None


_forward.register_autograd(_gradient, setup_context=_keep)


@register_flop_formula(torch.ops.pcbsa.block_mlp)
def _flops(x: Any, weight1: Any, bias1: Any, weight2: Any, *args: Any, **kwargs: Any) -> int:
    rows = x[0] * x[1] * x[2] // weight1[1]
    return int(2 * rows * (math.prod(weight1) + math.prod(weight2)))


@register_flop_formula(torch.ops.pcbsa.block_mlp_backward)
def _flops_backward(grad: Any, x: Any, weight1: Any, bias1: Any, weight2: Any, *args: Any, **kwargs: Any) -> int:
    """As of the plain operators: the hidden layer that is computed again is not counted."""
    return 2 * _flops(x, weight1, bias1, weight2)


def block_mlp_triton(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    block_size: int,
    valid: Tensor | None = None,
) -> Tensor:
    """As :func:`.reference.block_mlp`; the weights are cast to the type of x, as autocast would."""
    weights = (t.to(x.dtype) for t in (weight1, bias1, weight2, bias2))
    out: Tensor = _forward(x, *weights, block_size, valid)
    return out
