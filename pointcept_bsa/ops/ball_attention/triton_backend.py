"""Launches of the ball attention kernels, as a custom operator of torch: ``pcbsa::ball_attention``.

The operator works under autograd, ``torch.compile``, CUDA graphs and the FLOP counter. It keeps q, k, v, the output
and one number a query and head for the backward pass; nothing of size ``S m H``. Narrow heads in bfloat16 take the
way of :mod:`.narrow`, the others that of :mod:`.kernels`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import interpreted, on_device_of
from pointcept_bsa.ops.launch import as_bytes, contiguous_rows, counters, power_of_2, precision
from pointcept_bsa.ops.operator import operator

from . import narrow

MAX_DIM = 128


def unsupported(q: Tensor, ball_size: int, coord: Tensor | None) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if ball_size & (ball_size - 1) or ball_size < 16:
        return f"ball_size: got {ball_size}, wanted a power of two from 16 on"
    if q.shape[-1] > MAX_DIM:
        return f"q: got {q.shape[-1]} channels a head, wanted at most {MAX_DIM}"
    if coord is not None and coord.requires_grad:
        return "coord: wants a gradient"
    return None


# Tiles (queries, keys, warps) by kernel and padded head width, for balls of 256 on sm_90; smaller balls clip them.
TILES: dict[tuple[str, int], tuple[int, int, int]] = {
    ("forward", 16): (128, 128, 4),
    ("forward", 32): (128, 128, 4),
    ("forward", 64): (128, 64, 4),
    ("forward", 128): (64, 64, 4),
    ("keys", 16): (64, 256, 8),
    ("keys", 32): (64, 128, 8),
    ("keys", 64): (64, 64, 4),
    ("keys", 128): (32, 64, 4),
    ("queries", 16): (64, 128, 4),
    ("queries", 32): (64, 128, 4),
    ("queries", 64): (64, 64, 4),
    ("queries", 128): (64, 32, 4),
}


# What was faster than TILES for these sizes, measured on an H200.
SMALL_BALL: dict[tuple[str, int], tuple[int, int, int]] = {("keys", 16): (64, 128, 4)}  # of at most 128
MANY_BALLS: dict[tuple[str, int], tuple[int, int, int]] = {("keys", 16): (32, 256, 4)}  # that fill the GPU
FILLED = 480 * 256  # slots times heads


def _tiles(kernel: str, dim: int, ball_size: int, q: Tensor) -> dict[str, int]:
    special = SMALL_BALL if ball_size <= 128 else MANY_BALLS if q.shape[0] * q.shape[1] >= FILLED else {}
    rows, keys, warps = special.get((kernel, dim), TILES[kernel, dim])
    dtype = q.dtype
    if dtype == torch.float32:  # twice the registers
        rows, keys = rows // 2, keys // (1 if kernel == "keys" and dim <= 32 else 2)
    return dict(ROWS=max(16, min(rows, ball_size)), KEYS=max(16, min(keys, ball_size)), num_warps=warps)


def _arguments(
    q: Tensor, k: Tensor, v: Tensor, coord: Tensor | None, sigma: Tensor | None, ball_size: int, masked: bool
) -> tuple[list[Any], dict[str, Any]]:
    slots, heads, width = q.shape
    strides = [s for t in (q, k, v) for s in t.stride()[:2]]
    constants = dict(
        HEADS=heads,
        GROUP=heads // k.shape[1],
        BALL=ball_size,
        DIM=power_of_2(width, 16),
        WIDTH=width,
        SPACE=1 if coord is None or sigma is None else coord.shape[1],
        BIAS=sigma is not None,
        MASK=masked,
        PRECISION=precision(),
        UPCAST=interpreted() and q.dtype != torch.float32,
    )
    return [*strides, slots, 1 / math.sqrt(width)], constants


@operator("pcbsa::ball_attention")
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coord: Tensor | None,
    sigma: Tensor | None,
    valid: Tensor | None,
    ball_size: int,
) -> tuple[Tensor, Tensor]:
    if narrow.fits(q, k, v, ball_size):
        return narrow.forward(q, k, v, coord, sigma, valid, ball_size)
    from pointcept_bsa.ops.ball_attention.kernels import forward_kernel

    q, k, v = (contiguous_rows(t) for t in (q, k, v))
    slots, heads, _ = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(heads, slots, dtype=torch.float32, device=q.device)
    numbers, constants = _arguments(q, k, v, coord, sigma, ball_size, valid is not None)
    tiles = _tiles("forward", constants["DIM"], ball_size, q)
    coord = None if sigma is None or coord is None else coord.float().contiguous()
    with on_device_of(q):
        forward_kernel[(slots // tiles["ROWS"], heads)](
            q,
            k,
            v,
            coord,
            coord,
            None,
            sigma,
            as_bytes(valid),
            out,
            lse,
            *numbers,
            SEPARATE_QUERIES=False,
            **constants,
            **tiles,
        )
    return out, lse


@_forward.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coord: Tensor | None,
    sigma: Tensor | None,
    valid: Tensor | None,
    ball_size: int,
) -> tuple[Tensor, Tensor]:
    return torch.empty(q.shape, dtype=q.dtype, device=q.device), q.new_empty(
        (q.shape[1], q.shape[0]), dtype=torch.float32
    )


@operator("pcbsa::ball_attention_backward")
def _backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coord: Tensor | None,
    sigma: Tensor | None,
    valid: Tensor | None,
    out: Tensor,
    lse: Tensor,
    ball_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_width = narrow.backward if narrow.fits(q, k, v, ball_size) else _gradients
    dq, dk, dv, dsigma = of_width(grad, q, k, v, coord, sigma, valid, out, lse, ball_size)
    if k.shape[1] < q.shape[1]:  # a key head's gradient is the sum over its query heads, which come apart
        dk, dv = (t.unflatten(1, (k.shape[1], -1)).sum(2).to(k.dtype) for t in (dk, dv))
    return dq, dk, dv, dsigma


def _gradients(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coord: Tensor | None,
    sigma: Tensor | None,
    valid: Tensor | None,
    out: Tensor,
    lse: Tensor,
    ball_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Those of k and v by query head, in float32 where heads share them."""
    from pointcept_bsa.ops.ball_attention.kernels import key_gradient_kernel, query_gradient_kernel

    q, k, v = (contiguous_rows(t) for t in (q, k, v))
    grad = grad.contiguous()
    slots, heads, _ = q.shape
    shared = k.shape[1] < heads
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    dk, dv = (torch.empty(q.shape, dtype=torch.float32 if shared else t.dtype, device=q.device) for t in (k, v))
    numbers, constants = _arguments(q, k, v, coord, sigma, ball_size, valid is not None)
    coord = None if sigma is None or coord is None else coord.float().contiguous()
    mask = as_bytes(valid)
    tiles = _tiles("keys", constants["DIM"], ball_size, q)
    parts = slots // tiles["KEYS"]
    biased = parts if sigma is not None else 0
    sums, dsigma = (torch.empty(n, heads, dtype=torch.float32, device=q.device) for n in (biased, 1))
    whole = tiles["KEYS"] == ball_size  # then one program has all keys of its queries, and dq with them
    with on_device_of(q):
        key_gradient_kernel[(parts, heads)](
            q, k, v, coord, sigma, mask, out, lse, grad, dq, dk, dv, sums, counters(q, heads), dsigma, *numbers,
            **constants, **tiles, WITH_DQ=whole,
        )  # fmt: skip
        if not whole:
            tiles = _tiles("queries", constants["DIM"], ball_size, q)
            query_gradient_kernel[(slots // tiles["ROWS"], heads)](
                q, k, v, coord, sigma, mask, out, lse, grad, dq, *numbers, **constants, **tiles
            )
    return dq, dk, dv, dsigma[0]


@_backward.register_fake
def _(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    coord: Tensor | None,
    sigma: Tensor | None,
    valid: Tensor | None,
    out: Tensor,
    lse: Tensor,
    ball_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v))
    return dq, dk, dv, q.new_empty(q.shape[1], dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:6], *output)
    ctx.ball_size = inputs[6]
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, coord, sigma, valid, out, lse = ctx.saved_tensors
    if grad is None:
        return (None,) * 7
    dq, dk, dv, dsigma = _backward(grad, q, k, v, coord, sigma, valid, out, lse, ctx.ball_size)
    return dq, dk, dv, None, None if sigma is None else dsigma.to(sigma.dtype), None, None


_forward.register_autograd(_gradient, setup_context=_keep)


@register_flop_formula(torch.ops.pcbsa.ball_attention)
def _flops(q: Any, k: Any, v: Any, coord: Any, sigma: Any, valid: Any, ball_size: int, *a: Any, **kw: Any) -> int:
    return int(4 * math.prod(q) * ball_size)


@register_flop_formula(torch.ops.pcbsa.ball_attention_backward)
def _flops_backward(grad: Any, q: Any, *a: Any, **kw: Any) -> int:
    return int(10 * math.prod(q) * a[-1 if isinstance(a[-1], int) else -2])


def ball_attention_triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ball_size: int,
    *,
    coord: Tensor | None = None,
    sigma: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """As :func:`.reference.ball_attention`, by the kernels. The bias is computed in float32 whatever the type of q."""
    out: Tensor = _forward(q, k, v, coord if sigma is not None else None, sigma, valid, ball_size)[0]
    return out


@operator("pcbsa::query_ball_attention")
def query_ball_attention_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ball: Tensor,
    ball_size: int,
    at: Tensor | None,
    coord: Tensor | None,
    sigma: Tensor | None,
    valid: Tensor | None,
) -> Tensor:
    """See :func:`.queries.query_ball_attention`; without gradients."""
    from pointcept_bsa.ops.ball_attention.kernels import forward_kernel

    q, k, v = (contiguous_rows(t) for t in (q, k, v))
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[1], q.shape[0], dtype=torch.float32, device=q.device)
    numbers, constants = _arguments(q, k, v, coord, sigma, ball_size, valid is not None)
    tiles = _tiles("forward", constants["DIM"], ball_size, q) | dict(ROWS=q.shape[0] // ball.shape[0])
    at, coord = (None if sigma is None or x is None else x.float().contiguous() for x in (at, coord))
    with on_device_of(q):
        forward_kernel[(ball.shape[0], q.shape[1])](
            q,
            k,
            v,
            coord,
            at,
            ball,
            sigma,
            as_bytes(valid),
            out,
            lse,
            *numbers,
            SEPARATE_QUERIES=True,
            **constants,
            **tiles,
        )
    return out


@query_ball_attention_op.register_fake
def _(q, k, v, ball, ball_size, at, coord, sigma, valid):
    return torch.empty(q.shape, dtype=q.dtype, device=q.device)


@register_flop_formula(torch.ops.pcbsa.query_ball_attention)
def _query_flops(q: Any, k: Any, v: Any, ball: Any, ball_size: int, *args: Any, **kwargs: Any) -> int:
    return int(4 * math.prod(q) * ball_size)
