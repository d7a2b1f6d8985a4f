"""Launches of the RMSNorm kernels, as custom operators of torch: ``pcbsa::rms_norm``, ``pcbsa::add_rms_norm`` and
``pcbsa::placed_rms_norm``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.launch import counters, power_of_2

MAX_CHANNELS = 8192
MAX_SPACE = 3
ELEMENTS = 4096  # of x that a program holds at a time
PROGRAMS = 256  # of the backward pass, at most


def unsupported(x: Tensor, place: Tensor | None = None) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if x.shape[-1] > MAX_CHANNELS:
        return f"x: got {x.shape[-1]} channels, wanted at most {MAX_CHANNELS}"
    if x.numel() == 0:
        return "x: got no rows"
    if place is not None and place.shape[-1] > MAX_SPACE:
        return f"place: got {place.shape[-1]} coordinates, wanted at most {MAX_SPACE}"
    if place is not None and place.requires_grad:
        return "place: wants a gradient"
    return None


def _constants(channels: int) -> dict[str, int]:
    columns = power_of_2(channels)
    return dict(C=channels, COLUMNS=columns, ROWS=max(1, ELEMENTS // columns))


def _forward(
    x: Tensor,
    a: Tensor | None,
    weight: Tensor,
    eps: float,
    dtype: torch.dtype,
    place: Tensor | None = None,
    matrix: Tensor | None = None,
    shift: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Result, x + a if there is an a, and the factor of each row."""
    from .kernels import forward_kernel

    x = x.contiguous()
    a, place, matrix, shift = (t if t is None else t.contiguous() for t in (a, place, matrix, shift))
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    total = None if a is None else torch.empty_like(x)
    rows = x.numel() // x.shape[-1]
    scale = torch.empty(rows, dtype=torch.float32, device=x.device)
    constants = _constants(x.shape[-1])
    with on_device_of(x):
        forward_kernel[(-(-rows // constants["ROWS"]),)](
            x, a, weight, place, matrix, shift, out, total, scale, rows, eps,
            ADD=a is not None, SPACE=0 if place is None else place.shape[-1], **constants,
        )  # fmt: skip
    return out, total, scale


def _shapes(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    scale = x.new_empty(x.numel() // x.shape[-1], dtype=torch.float32)
    return torch.empty(x.shape, dtype=dtype, device=x.device), scale


@torch.library.custom_op("pcbsa::rms_norm", mutates_args=())
def _norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    out, _, scale = _forward(x, None, weight, eps, dtype)
    return out, scale


@_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _shapes(x, dtype)


@torch.library.custom_op("pcbsa::add_rms_norm", mutates_args=())
def _add_norm(x: Tensor, a: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    out, total, scale = _forward(x, a, weight, eps, dtype)
    assert total is not None
    return out, total, scale


@_add_norm.register_fake
def _(x: Tensor, a: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    out, scale = _shapes(x, dtype)
    return out, torch.empty(x.shape, dtype=x.dtype, device=x.device), scale


@torch.library.custom_op("pcbsa::placed_rms_norm", mutates_args=())
def _placed_norm(
    x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype, place: Tensor, matrix: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    out, _, scale = _forward(x, None, weight, eps, dtype, place, matrix, shift)
    return out, scale


@_placed_norm.register_fake
def _(
    x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype, place: Tensor, matrix: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    return _shapes(x, dtype)


@torch.library.custom_op("pcbsa::rms_norm_backward", mutates_args=())
def _backward(
    grad: Tensor,
    further: Tensor | None,
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    place: Tensor | None,
    also: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of x, to which ``further`` is added; the same in the type ``also`` (None: empty); gradients of the
    weight, the shift and the matrix behind each other in float32."""
    from .kernels import backward_kernel

    x, grad = x.contiguous(), grad.contiguous()
    further, place = (t if t is None else t.contiguous() for t in (further, place))
    dx = torch.empty_like(x)
    da = torch.empty(x.shape if also is not None else (0,), dtype=also or x.dtype, device=x.device)
    constants = _constants(x.shape[-1])
    tiles = -(-scale.shape[0] // constants["ROWS"])
    parts = -(-tiles // PROGRAMS)
    programs = -(-tiles // parts)
    space = 0 if place is None else place.shape[-1]
    sums = torch.empty(programs, _weights(x, place), dtype=torch.float32, device=x.device)
    dweights = torch.empty(_weights(x, place), dtype=torch.float32, device=x.device)
    with on_device_of(x):
        backward_kernel[(programs,)](
            x, weight, place, scale, grad, further, dx, da, sums, counters(x, 1), dweights, scale.shape[0],
            PARTS=parts, SPACE=space, FURTHER_GRAD=further is not None, TWICE=also is not None, **constants,
        )  # fmt: skip
    return dx, da, dweights


def _weights(x: Tensor, place: Tensor | None) -> int:
    """Numbers in the weight, the shift and the matrix."""
    return x.shape[-1] * (1 if place is None else 2 + place.shape[-1])


@_backward.register_fake
def _(
    grad: Tensor,
    further: Tensor | None,
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    place: Tensor | None,
    also: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty(x.shape, dtype=x.dtype, device=x.device),
        torch.empty(x.shape if also is not None else (0,), dtype=also or x.dtype, device=x.device),
        x.new_empty(_weights(x, place), dtype=torch.float32),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[1])


def _gradient(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, scale = ctx.saved_tensors
    dx, _, dweight = _backward(grad, None, x, weight, scale, None, None)
    return dx, dweight.to(weight.dtype), None, None


_norm.register_autograd(_gradient, setup_context=_keep)


def _keep_sum(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1], inputs[2], output[2])
    ctx.dtype = inputs[1].dtype
    ctx.set_materialize_grads(False)


def _gradient_of_sum(ctx: Any, grad: Tensor | None, further: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    x, weight, scale = ctx.saved_tensors
    if grad is None:
        return further, further if further is None else further.to(ctx.dtype), None, None, None
    dx, da, dweight = _backward(grad, further, x, weight, scale, None, ctx.dtype if ctx.dtype != x.dtype else None)
    return dx, dx if ctx.dtype == x.dtype else da, dweight.to(weight.dtype), None, None


_add_norm.register_autograd(_gradient_of_sum, setup_context=_keep_sum)


def _keep_place(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, _, place, matrix, shift = inputs
    ctx.save_for_backward(x, weight, output[1], place)
    ctx.dtypes = matrix.dtype, shift.dtype


def _gradient_with_place(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, scale, place = ctx.saved_tensors
    dx, _, dweights = _backward(grad, None, x, weight, scale, place, None)
    channels = x.shape[-1]
    dweight, dshift, dmatrix = dweights.split([channels, channels, channels * place.shape[-1]])
    matrix, shift = ctx.dtypes
    return dx, dweight.to(weight.dtype), None, None, None, dmatrix.view(channels, -1).to(matrix), dshift.to(shift)


_placed_norm.register_autograd(_gradient_with_place, setup_context=_keep_place)


@register_flop_formula(torch.ops.pcbsa.placed_rms_norm)
def _flops(x: Any, weight: Any, eps: Any, dtype: Any, place: Any, *args: Any, **kwargs: Any) -> int:
    """Those of the map of the coordinates."""
    return int(2 * math.prod(x) * place[-1])


@register_flop_formula(torch.ops.pcbsa.rms_norm_backward)
def _flops_backward(grad: Any, further: Any, x: Any, weight: Any, scale: Any, place: Any, *a: Any, **kw: Any) -> int:
    return 0 if place is None else int(2 * math.prod(x) * place[-1])


def _result_type(x: Tensor) -> torch.dtype:
    """Under autocast that of the matrix product that follows."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def rms_norm_triton(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As :func:`.reference.rms_norm`; under autocast the result has the type of the matrix product that follows."""
    out: Tensor = _norm(x, weight, eps, _result_type(x))[0]
    return out


def add_rms_norm_triton(x: Tensor, a: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As :func:`.add_rms_norm`."""
    out, total, _ = _add_norm(x, a, weight, eps, _result_type(x))
    return total, out


def placed_rms_norm_triton(
    x: Tensor, weight: Tensor, eps: float, place: Tensor, matrix: Tensor, shift: Tensor
) -> Tensor:
    """As :func:`.placed_rms_norm`; the map of the coordinates is taken in float32."""
    out: Tensor = _placed_norm(x, weight, eps, _result_type(x), place, matrix, shift)[0]
    return out
