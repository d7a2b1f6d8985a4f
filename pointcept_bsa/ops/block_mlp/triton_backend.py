"""Launches of the block MLP kernels, as a custom operator of torch: ``pcbsa::block_mlps``, for one MLP or two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import interpreted, on_device_of
from pointcept_bsa.ops.column_sum.triton_backend import sum_columns
from pointcept_bsa.ops.launch import as_bytes, contiguous_rows, power_of_2, precision
from pointcept_bsa.ops.operator import operator
from pointcept_bsa.ops.side_streams import SideBySide

MAX_INPUTS = 256  # l D
ROWS, HIDE = 64, 64  # of a tile
PROGRAMS = 64  # over the rows, of the kernel that sums up the gradients of the weights
FIRST_STREAM = 9  # see ``SideBySide``


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


def unlike(xs: Sequence[Tensor], weights: Sequence[Sequence[Tensor]]) -> str | None:
    """What keeps MLPs from sharing launches, or None."""
    if any(a.shape != b.shape or a.stride() != b.stride() or a.dtype != b.dtype for a, b in pairwise(xs)):
        return "x: got tensors unlike each other"
    if any(a.shape != b.shape for one, other in pairwise(weights) for a, b in zip(one, other, strict=True)):
        return "weights: got MLPs of several sizes"
    return None


def _sets(*lists: Sequence[Tensor]) -> list[Tensor]:
    """What the kernels take of one MLP, and of the second; of the first again where there is one."""
    sets = list(zip(*lists, strict=True))
    return [*sets[0], *sets[-1]]


def _parts(weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """All W_1, all b_1, all W_2, all b_2."""
    return [[t.contiguous() for t in weights[i::4]] for i in range(4)]


@operator("pcbsa::block_mlps")
def _forward(xs: list[Tensor], weights: list[Tensor], block_size: int, valid: Tensor | None) -> list[Tensor]:
    """``weights``: W_1, b_1, W_2, b_2 of each MLP."""
    from .kernels import forward_kernel

    xs = [contiguous_rows(x) for x in xs]
    x = xs[0]
    rows, constants = _arguments(x, weights[0], weights[2], block_size, valid is not None)
    outs = [x.new_empty((x.shape[0] // block_size, x.shape[1], weights[2].shape[0])) for x in xs]
    with on_device_of(x):
        forward_kernel[(-(-rows // constants["ROWS"]), 1, len(xs))](
            *_sets(xs, *_parts(weights), outs), as_bytes(valid), rows, x.stride(0), x.stride(1), **constants
        )
    return outs


@_forward.register_fake
def _(xs: list[Tensor], weights: list[Tensor], block_size: int, valid: Tensor | None) -> list[Tensor]:
    return [x.new_empty((x.shape[0] // block_size, x.shape[1], weights[2].shape[0])) for x in xs]


@operator("pcbsa::block_mlps_backward")
def _backward(
    grads: list[Tensor], xs: list[Tensor], weights: list[Tensor], block_size: int, valid: Tensor | None
) -> list[Tensor]:
    """Gradients of each x and, last, those of all weights behind each other in the type of the first."""
    from .kernels import input_gradient_kernel, weight_gradient_kernel

    xs, grads = [contiguous_rows(x) for x in xs], [grad.contiguous() for grad in grads]
    x = xs[0]
    rows, constants = _arguments(x, weights[0], weights[2], block_size, valid is not None)
    tiles = -(-rows // constants["ROWS"])
    # At most PROGRAMS partial sums, however many rows there are; and no program without a tile.
    parts = -(-tiles // PROGRAMS)
    programs = -(-tiles // parts)
    dxs = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in xs]
    weight1, bias1, weight2, _ = _parts(weights)
    given = xs, weight1, bias1, weight2, grads
    with on_device_of(x), SideBySide(x, first=FIRST_STREAM) as kernels:
        with kernels.side_stream():
            sums = torch.empty(programs, sum(t.numel() for t in weights), dtype=torch.float32, device=x.device)
            weight_gradient_kernel[(programs, -(-weights[0].shape[0] // constants["HIDE"]), len(xs))](
                *_sets(*given), sums, as_bytes(valid), rows, x.stride(0), x.stride(1), parts, **constants
            )
            dweights = sum_columns(sums, weights[0].dtype)
        input_gradient_kernel[(tiles, 1, len(xs))](
            *_sets(*given, dxs), as_bytes(valid), rows, x.stride(0), x.stride(1), **constants
        )
    return [*dxs, dweights]


@_backward.register_fake
def _(
    grads: list[Tensor], xs: list[Tensor], weights: list[Tensor], block_size: int, valid: Tensor | None
) -> list[Tensor]:
    dxs = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in xs]
    return [*dxs, weights[0].new_empty(sum(t.numel() for t in weights))]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    xs, weights, ctx.block_size, valid = inputs
    ctx.count = len(xs)
    ctx.save_for_backward(valid, *xs, *weights)


def _gradient(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    valid, *saved = ctx.saved_tensors
    xs, weights = saved[: ctx.count], saved[ctx.count :]
    *dxs, joined = _backward(list(grads), xs, weights, ctx.block_size, valid)
    dweights = joined.split([t.numel() for t in weights])
    return dxs, [grad.view_as(t) for grad, t in zip(dweights, weights, strict=True)], None, None


_forward.register_autograd(_gradient, setup_context=_keep)


@register_flop_formula(torch.ops.pcbsa.block_mlps)
def _flops(xs: Any, weights: Any, *args: Any, **kwargs: Any) -> int:
    rows = math.prod(xs[0]) // weights[0][1]
    return int(2 * rows * sum(math.prod(weight) for weight in weights if len(weight) == 2))


@register_flop_formula(torch.ops.pcbsa.block_mlps_backward)
def _flops_backward(grads: Any, xs: Any, weights: Any, *args: Any, **kwargs: Any) -> int:
    """As of the plain operators: the hidden layer that is computed again is not counted."""
    return 2 * _flops(xs, weights)


def block_mlps_triton(
    xs: Sequence[Tensor], weights: Sequence[Sequence[Tensor]], block_size: int, valid: Tensor | None = None
) -> list[Tensor]:
    """As :func:`.block_mlps`; the weights are cast to the type of x, as autocast would."""
    dtype = xs[0].dtype
    cast = [t if t.dtype == dtype else t.to(dtype) for each in weights for t in each]
    outs: list[Tensor] = _forward(list(xs), cast, block_size, valid)
    return outs
