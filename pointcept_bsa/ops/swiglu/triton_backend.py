"""Launches of the SwiGLU kernels, as a custom operator of torch: ``pcbsa::swiglu``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import interpreted, on_device_of
from pointcept_bsa.ops.column_sum.triton_backend import sum_columns
from pointcept_bsa.ops.launch import power_of_2, takes_ptx
from pointcept_bsa.ops.operator import operator
from pointcept_bsa.ops.side_streams import SideBySide

MAX_CHANNELS = 64  # of wider ones the products bound a block, not what is read and written between them
# Rows and hidden units of a tile, warps, stages. On an H100 with 64 channels and 256 units, in microseconds: 65,536
# rows forward 27 and with gradients 116, by the library's products and a kernel between them 81 and 240; 4,096 rows
# 7.8 and 29, 10.4 and 33.
TILES = {"forward": (64, 64, 4, 2), "input": (64, 64, 4, 2), "weights": (64, 64, 4, 2)}
PROGRAMS = 64  # at most, over the rows, of the kernel that sums up the gradients of the weights
FIRST_STREAM = 10  # see ``SideBySide``


def unsupported(x: Tensor, dim: int) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if x.dtype not in (torch.bfloat16, torch.float16):
        return f"x: got {x.dtype}, wanted 16 bits"
    if x.dim() != 2 or not x.numel():
        return f"x: got a tensor {tuple(x.shape)}, wanted (N, C)"
    if x.shape[1] != dim or dim > MAX_CHANNELS:
        return f"x: got {x.shape[1]} channels for {dim}, wanted the same and at most {MAX_CHANNELS}"
    if not takes_ptx(x):
        return "wanted an NVIDIA GPU of compute capability 8.0 or later"
    return None


def _launch(kernel: str, x: Tensor, hidden: int) -> dict[str, Any]:
    rows, hide, warps, stages = TILES[kernel]
    return dict(
        C=x.shape[1],
        WIDTH=power_of_2(x.shape[1], 16),
        M=hidden,
        ROWS=rows,
        HIDE=min(hide, power_of_2(hidden, 16)),
        UPCAST=interpreted(),
        num_warps=warps,
        num_stages=stages,
    )


@operator("pcbsa::swiglu")
def _forward(x: Tensor, weights: list[Tensor]) -> Tensor:
    from .kernels import forward_kernel

    x, weights = x.contiguous(), [t.contiguous() for t in weights]
    out = torch.empty_like(x)
    launch = _launch("forward", x, len(weights[0]))
    with on_device_of(x):
        forward_kernel[(-(-len(x) // launch["ROWS"]),)](x, *weights, out, len(x), **launch)
    return out


@_forward.register_fake
def _(x: Tensor, weights: list[Tensor]) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@operator("pcbsa::swiglu_backward")
def _backward(grad: Tensor, x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Gradients of x, of all matrices behind each other in their type, and of all biases in theirs."""
    from .kernels import input_gradient_kernel, weight_gradient_kernel

    grad, x = grad.contiguous(), x.contiguous()
    given = x, *(t.contiguous() for t in weights[:5]), grad
    dx = torch.empty_like(x)
    hidden = len(weights[0])
    with on_device_of(x), SideBySide(x, first=FIRST_STREAM) as kernels:
        with kernels.side_stream():
            launch = _launch("weights", x, hidden)
            tiles = -(-len(x) // launch["ROWS"])
            # At most PROGRAMS partial sums, however many rows there are; and no program without a tile.
            parts = -(-tiles // PROGRAMS)
            programs = -(-tiles // parts)
            dw, db = (
                torch.empty(programs, sum(t.numel() for t in some), dtype=torch.float32, device=x.device)
                for some in (weights[::2], weights[1::2])
            )
            weight_gradient_kernel[(programs, -(-hidden // launch["HIDE"]))](*given, dw, db, len(x), parts, **launch)
            sums = sum_columns(dw, weights[0].dtype), sum_columns(db, weights[1].dtype)
        launch = _launch("input", x, hidden)
        input_gradient_kernel[(-(-len(x) // launch["ROWS"]),)](*given, dx, len(x), **launch)
    return [dx, *sums]


@_backward.register_fake
def _(grad: Tensor, x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    dw, db = (some[0].new_empty(sum(t.numel() for t in some)) for some in (weights[::2], weights[1::2]))
    return [torch.empty(x.shape, dtype=x.dtype, device=x.device), dw, db]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weights = inputs
    ctx.save_for_backward(x, *weights)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, list[Tensor]]:
    x, *weights = ctx.saved_tensors
    dx, dw, db = _backward(grad, x, weights)
    matrices, biases = (
        [part.view_as(t) for part, t in zip(joined.split([t.numel() for t in some]), some, strict=True)]
        for joined, some in ((dw, weights[::2]), (db, weights[1::2]))
    )
    return dx, [t for pair in zip(matrices, biases, strict=True) for t in pair]


_forward.register_autograd(_gradient, setup_context=_keep)


@register_flop_formula(torch.ops.pcbsa.swiglu)
def _flops(x: Any, weights: Any, *args: Any, **kwargs: Any) -> int:
    return int(2 * x[0] * sum(math.prod(weight) for weight in weights[::2]))


@register_flop_formula(torch.ops.pcbsa.swiglu_backward)
def _flops_backward(grad: Any, x: Any, weights: Any, *args: Any, **kwargs: Any) -> int:
    """As of the plain operators: the hidden values that are computed again are not counted."""
    return 2 * _flops(x, weights)


def swiglu_triton(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """As :func:`.swiglu`, by the kernels."""
    out: Tensor = _forward(x, [t if i % 2 else t.to(x.dtype) for i, t in enumerate(weights)])
    return out
