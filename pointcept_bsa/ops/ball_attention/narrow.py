"""Launches of the kernels of ball attention with narrow heads in bfloat16 (:mod:`.narrow_kernels`).

On an H100, 65,536 slots in balls of 256, 8 heads of 8 channels with distances and empty slots: forward 107 us (the
kernels of any width 236), backward 258 us (425).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import interpreted, on_device_of
from pointcept_bsa.ops.dense_attention import narrow
from pointcept_bsa.ops.launch import alignment, as_bytes, contiguous_rows, counters, power_of_2, takes_ptx

MAX_WIDTH = 12  # channels of a head, which fit rows of 16 with the columns beside them
COLUMNS = 4  # beside the channels, see ``narrow_kernels``
SMALLEST_BALL = 64  # of a tile's length
FILLED = 480 * 256  # slots times heads that fill a GPU

# By kernel, on sm_90: queries and keys of a tile, warps, stages, heads together, polynomials of 8 exponentials (none:
# Triton's own function). Of few slots and heads, and of so many that they fill the GPU.
TILES: dict[str, tuple[int, int, int, int, int, int | None]] = {
    "forward": (64, 64, 4, 1, 2, 3),
    "queries": (64, 64, 4, 1, 2, 2),
    "keys": (64, 64, 4, 1, 2, 2),
}
MANY: dict[str, tuple[int, int, int, int, int, int | None]] = {
    "forward": (64, 32, 4, 1, 4, None),
    "queries": (64, 64, 4, 1, 4, 2),
    "keys": (32, 64, 4, 3, 2, 2),
}


def fits(q: Tensor, k: Tensor, v: Tensor, ball_size: int) -> bool:
    """Whether these kernels serve q (S, H, D), k and v."""
    return (
        {t.dtype for t in (q, k, v)} == {torch.bfloat16}
        and q.shape[2] <= MAX_WIDTH
        and ball_size >= SMALLEST_BALL
        and takes_ptx(q)
    )


def _launch(kernel: str, q: Tensor) -> tuple[dict[str, Any], int]:
    """Arguments of a launch, and how many heads a program has."""
    rows, keys, warps, stages, heads, share = (MANY if q.shape[0] * q.shape[1] >= FILLED else TILES)[kernel]
    heads = math.gcd(heads, q.shape[1])
    known = dict(EXP="", UPCAST=interpreted())
    if share is not None:  # the forward pass has multiplied by FACTOR
        known = narrow.exponentials(q.shape[2], kernel == "forward", share, False)
    return dict(ROWS=rows, KEYS=keys, num_warps=warps, num_stages=stages, TOGETHER=heads, **known), heads


def _constants(
    q: Tensor, k: Tensor, coord: Tensor | None, sigma: Tensor | None, valid: Tensor | None, ball_size: int
) -> dict[str, Any]:
    width = q.shape[2]
    return dict(
        HEADS=q.shape[1],
        GROUP=q.shape[1] // k.shape[1],
        BALL=ball_size,
        DIM=power_of_2(width + COLUMNS, 16),
        WIDTH=width,
        FACTOR=narrow.LOG2E / math.sqrt(width),
        SPACE=1 if coord is None else coord.shape[1],
        BIAS=sigma is not None,
        MASK=valid is not None,
    )


def _biased(coord: Tensor | None, sigma: Tensor | None) -> Tensor | None:
    return None if sigma is None or coord is None else coord.float().contiguous()


def forward(
    q: Tensor, k: Tensor, v: Tensor, coord: Tensor | None, sigma: Tensor | None, valid: Tensor | None, ball_size: int
) -> tuple[Tensor, Tensor]:
    """Output (S, H, D), and base-2 log-sum-exp (H, S) of the logits."""
    from .narrow_kernels import forward_kernel

    q, k, v = (contiguous_rows(t) for t in (q, k, v))
    slots, heads, _ = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(heads, slots, dtype=torch.float32, device=q.device)
    strides = [s for t in (q, k, v) for s in t.stride()[:2]]
    launch, together = _launch("forward", q)
    with on_device_of(q):
        forward_kernel[(slots // launch["ROWS"], heads // together)](
            q, k, v, _biased(coord, sigma), sigma, as_bytes(valid), out, lse, *strides, slots,
            ALIGN=alignment(q, k, v, out), **_constants(q, k, coord, sigma, valid, ball_size), **launch,
        )  # fmt: skip
    return out, lse


def backward(
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
    """Gradients of q (S, H, D), of k and v by query head, in float32 where heads share them, and of sigma (H,)."""
    from .narrow_kernels import key_gradient_kernel, query_gradient_kernel

    q, k, v, grad = contiguous_rows(q), contiguous_rows(k), contiguous_rows(v), grad.contiguous()
    slots, heads, _ = q.shape
    constants = _constants(q, k, coord, sigma, valid, ball_size)
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    sums = torch.float32 if k.shape[1] < heads else k.dtype
    dk, dv = (torch.empty(q.shape, dtype=sums, device=q.device) for _ in range(2))
    qx, gx = (q.new_empty(heads, slots, constants["DIM"]) for _ in range(2))
    strides = [s for t in (q, k, v) for s in t.stride()[:2]]
    coord, mask = _biased(coord, sigma), as_bytes(valid)
    constants |= dict(ALIGN=alignment(q, k, v, out))
    with on_device_of(q):
        launch, together = _launch("queries", q)
        query_gradient_kernel[(slots // launch["ROWS"], heads // together)](
            q, k, v, coord, sigma, mask, out, lse, grad, qx, gx, dq, *strides, slots, **constants, **launch
        )
        launch, together = _launch("keys", q)
        tiles, groups = slots // launch["KEYS"], heads // together
        biased = tiles if sigma is not None else 0
        parts, dsigma = (torch.empty(n, heads, dtype=torch.float32, device=q.device) for n in (biased, 1))
        key_gradient_kernel[(tiles, groups)](
            qx, gx, k, v, coord, sigma, mask, dk, dv, parts, counters(q, groups), dsigma, *strides[2:], slots,
            **constants, **launch,
        )  # fmt: skip
    return dq, dk, dv, dsigma[0]
