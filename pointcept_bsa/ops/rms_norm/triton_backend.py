"""Launches of the RMSNorm kernels, as a custom operator of torch: ``pcbsa::residual_norm`` and its gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.launch import counters, power_of_2
from pointcept_bsa.ops.operator import operator

from .reference import PositionMap

MAX_CHANNELS = 8192
MAX_SPACE = 3
ELEMENTS = 4096  # of x that a program holds at a time
PROGRAMS = 256  # of the backward pass, at most
SUMMED = 16384  # partial sums that the last program adds up at a time


def unsupported(x: Tensor, position: Tensor | None = None, ordered: bool = False) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if x.shape[-1] > MAX_CHANNELS:
        return f"x: got {x.shape[-1]} channels, wanted at most {MAX_CHANNELS}"
    if x.numel() == 0:
        return "x: got no rows"
    if position is not None and position.shape[-1] > MAX_SPACE:
        return f"position: got {position.shape[-1]} coordinates, wanted at most {MAX_SPACE}"
    if position is not None and position.requires_grad:
        return "position: wants a gradient"
    if ordered and x.dim() != 2:
        return f"x: got {x.dim()} axes with an order, wanted 2"
    return None


def _constants(channels: int) -> dict[str, int]:
    columns = power_of_2(channels)
    return dict(C=channels, COLUMNS=columns, ROWS=max(1, ELEMENTS // columns))


@operator("pcbsa::residual_norm")
def _forward(
    x: Tensor,
    weight: Tensor,
    eps: float,
    dtype: torch.dtype,
    summand: Tensor | None,
    bias: Tensor | None,
    order: Tensor | None,
    position: Tensor | None,
    matrix: Tensor | None,
    shift: Tensor | None,
    others: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The norm in ``dtype``, what was normalised (empty if that is x itself), and the factor of each row."""
    from .kernels import forward_kernel

    x = x.contiguous()
    summand, order, position, matrix, shift, others = (
        t if t is None else t.contiguous() for t in (summand, order, position, matrix, shift, others)
    )
    out, total, scale = _shapes(x, dtype, summand, order)
    constants = _constants(x.shape[-1])
    with on_device_of(x):
        forward_kernel[(-(-scale.shape[0] // constants["ROWS"]),)](
            x, summand, others, order, weight, position, matrix, shift, out, total, scale, scale.shape[0], eps,
            ADD=summand is not None, MOVE=order is not None, FROM_OTHERS=others is not None,
            SPACE=0 if position is None else position.shape[-1],
            **constants,
        )  # fmt: skip
    return out, total, scale


def _shapes(
    x: Tensor, dtype: torch.dtype, summand: Tensor | None, order: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    scale = x.new_empty(x.numel() // x.shape[-1], dtype=torch.float32)
    total = x.new_empty((0,) if summand is None and order is None else x.shape)
    return x.new_empty(x.shape, dtype=dtype), total, scale


@_forward.register_fake
def _(x, weight, eps, dtype, summand, bias, order, position, matrix, shift, others):
    return _shapes(x, dtype, summand, order)


@operator("pcbsa::residual_norm_backward")
def _backward(
    grad: Tensor,
    further: Tensor | None,
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    order: Tensor | None,
    position: Tensor | None,
    also: torch.dtype | None,
    bias: bool,
    others: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradient of x (what was normalised), to which ``further`` is added; the same in the type ``also`` (None: empty);
    gradients of the weight, the shift, the matrix and the bias behind each other in float32; that of so many
    ``others``."""
    from .kernels import backward_kernel

    x, grad = x.contiguous(), grad.contiguous()
    further, order, position = (t if t is None else t.contiguous() for t in (further, order, position))
    dx, da, dweights, dothers = _gradient_shapes(x, position, also, bias, others)
    if others:  # as many rows of x are left out of the order
        dx, da = dx.zero_(), da.zero_()
    constants = _constants(x.shape[-1])
    tiles = -(-scale.shape[0] // constants["ROWS"])
    parts = -(-tiles // PROGRAMS)
    programs = -(-tiles // parts)
    sums = torch.empty(programs, dweights.shape[0], dtype=torch.float32, device=x.device)
    wide = min(512, power_of_2(dweights.shape[0]))
    with on_device_of(x):
        backward_kernel[(programs,)](
            x, order, weight, position, scale, grad, further, dx, da, dothers, sums, counters(x, 1), dweights,
            scale.shape[0], PARTS=parts, MOVE=order is not None, FROM_OTHERS=others > 0,
            SPACE=0 if position is None else position.shape[-1],
            FURTHER_GRAD=further is not None, TWICE=also is not None, BIAS=bias,
            WIDE=wide, AT_ONCE=SUMMED // wide, num_warps=8, **constants,
        )  # fmt: skip
    return dx, da, dweights, dothers


def _gradient_shapes(
    x: Tensor, position: Tensor | None, also: torch.dtype | None, bias: bool, others: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    numbers = x.shape[-1] * ((1 if position is None else 2 + position.shape[-1]) + (1 if bias else 0))
    da = x.new_empty(x.shape if also is not None else (0,), dtype=also or x.dtype)
    dweights = x.new_empty(numbers, dtype=torch.float32)
    return x.new_empty(x.shape), da, dweights, x.new_empty(others, *x.shape[1:])


@_backward.register_fake
def _(grad, further, x, weight, scale, order, position, also, bias, others):
    return _gradient_shapes(x, position, also, bias, others)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, _, _, summand, bias, order, position, matrix, shift, others = inputs
    _, total, scale = output
    ctx.moved = summand is not None or order is not None
    ctx.save_for_backward(total if ctx.moved else x, weight, scale, order, position)
    ctx.summand, ctx.bias, ctx.matrix, ctx.shift = (t if t is None else t.dtype for t in (summand, bias, matrix, shift))
    ctx.others = None if others is None else len(others)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, further: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    x, weight, scale, order, position = ctx.saved_tensors
    if not ctx.moved:
        further = None  # of an empty tensor
    if grad is None and further is None:
        return (None,) * 11
    if grad is None:
        grad = torch.zeros_like(x)  # only the sum was used
    also = ctx.summand if ctx.summand != x.dtype else None
    bias, others = ctx.bias is not None, ctx.others or 0
    dx, da, dweights, dothers = _backward(grad, further, x, weight, scale, order, position, also, bias, others)
    channels = x.shape[-1]
    sizes = [channels]
    if position is not None:
        sizes += [channels, channels * position.shape[-1]]
    if ctx.bias is not None:
        sizes.append(channels)
    parts = list(dweights.split(sizes))
    dbias = parts.pop().to(ctx.bias) if ctx.bias is not None else None
    dshift, dmatrix = (None, None)
    if position is not None:
        dmatrix, dshift = parts.pop().view(channels, -1).to(ctx.matrix), parts.pop().to(ctx.shift)
    dsummand = None if ctx.summand is None else dx if also is None else da
    dothers = None if ctx.others is None else dothers
    return dx, parts[0].to(weight.dtype), None, None, dsummand, dbias, None, None, dmatrix, dshift, dothers


_forward.register_autograd(_gradient, setup_context=_keep)


@register_flop_formula(torch.ops.pcbsa.residual_norm)
def _flops(
    x: Any, weight: Any, eps: Any, dtype: Any, summand: Any, bias: Any, order: Any, position: Any, *a: Any, **kw: Any
) -> int:
    """Those of the map of the coordinates."""
    return 0 if position is None else int(2 * math.prod(x) * position[-1])


@register_flop_formula(torch.ops.pcbsa.residual_norm_backward)
def _flops_backward(
    grad: Any, further: Any, x: Any, weight: Any, scale: Any, order: Any, position: Any, *a: Any, **kw: Any
) -> int:
    return 0 if position is None else int(2 * math.prod(x) * position[-1])


def _result_type(x: Tensor) -> torch.dtype:
    """Under autocast that of the matrix product that follows."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def rms_norm_triton(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As :func:`.reference.rms_norm`; under autocast the result has the type of the matrix product that follows."""
    out: Tensor = _forward(x, weight, eps, _result_type(x), *(None,) * 7)[0]
    return out


def residual_norm_triton(
    x: Tensor,
    weight: Tensor,
    eps: float,
    summand: Tensor | None,
    bias: Tensor | None,
    order: Tensor | None,
    position: PositionMap | None,
    others: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`.residual_norm`, the result of the norm as that of :func:`rms_norm_triton`. The map of the coordinates
    is taken in float32."""
    place = position or (None, None, None)
    out, total, _ = _forward(x, weight, eps, _result_type(x), summand, bias, order, *place, others)
    return (x if summand is None and order is None else total), out
