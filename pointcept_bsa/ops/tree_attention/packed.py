"""Attention to lists of tokens of narrow heads, by the kernels of dense attention (:mod:`..dense_attention.narrow`).

To those a node is a cloud of a few queries, its list the keys, copied out of the tokens together with their bias. The
copies are made again for the backward pass, in which each list has rows of its own for the gradients of its tokens.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import interpreted, on_device_of
from pointcept_bsa.ops.dense_attention import narrow
from pointcept_bsa.ops.launch import alignment, contiguous_rows, power_of_2, takes_ptx
from pointcept_bsa.ops.side_streams import SideBySide

COLUMNS = 6  # beside the channels: three for the log-sum-exp, three for the bias
MAX_PROGRAMS = 65535  # along the second axis of a grid
ROWS_AT_ONCE = 16  # rows of a sum at once


def fits(q: Tensor, nodes: int) -> bool:
    """Whether these kernels serve the queries (Q, H, D) of so many nodes."""
    return (
        q.dtype in (torch.bfloat16, torch.float16)
        and q.shape[2] <= narrow.MAX_DIM
        and q.shape[1] * nodes <= MAX_PROGRAMS
        and takes_ptx(q)
    )


def _head_strides(x: Tensor) -> tuple[int, int, int]:
    """Cloud (none), head and row of (Q, H, D)."""
    return 0, x.stride(1), x.stride(0)


def _pack(k: Tensor, v: Tensor, bias: Tensor, tokens: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """KX, VX and BOUND of the lists: see ``narrow_kernels``."""
    from .packed_kernels import pack_lists_kernel

    nodes, longest = tokens.shape
    heads, width = k.shape[1:]
    padded = narrow.padded_rows(longest)
    kx, vx = (k.new_empty(nodes * heads, padded, dim) for _ in range(2))
    bound = k.new_empty(nodes * heads, padded // narrow.PAD, dtype=torch.float32)
    pack_lists_kernel[(padded // narrow.PAD, nodes * heads)](
        k, v, bias, tokens, kx, vx, bound, k.stride(1), k.stride(0), v.stride(1), v.stride(0), longest, padded,
        HEADS=heads, WIDTH=width, DIM=dim, SCALE=math.sqrt(width), ALIGN=alignment(k, v),
        ROWS=narrow.PAD, num_warps=4,
    )  # fmt: skip
    return kx, vx, bound


def forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, starts: Tensor, lengths: Tensor, tokens: Tensor, longest: int
) -> tuple[Tensor, Tensor]:
    """Output (Q, H, D), and base-2 log-sum-exp (H, Q) of the logits. ``longest``: most queries of a node."""
    from pointcept_bsa.ops.dense_attention.narrow_kernels import forward_kernel

    q, k, v = (contiguous_rows(t) for t in (q, k, v))
    queries, heads, width = q.shape
    nodes = tokens.shape[0]
    out = q.new_empty(q.shape)
    lse = q.new_empty(heads, queries, dtype=torch.float32)
    dim = power_of_2(width + COLUMNS, 16)
    tile, share = narrow.tile_of("forward", dim)
    # The kernel bounds q k^T alone: LIMIT less the largest bias, the logarithm of the points of a token. No token holds
    # more points than there are slots, and a query stands for a few of them.
    limit = max(0.0, narrow.LIMIT - math.log2(max(2, k.shape[0] * 64)))
    with on_device_of(q):
        kx, vx, bound = _pack(k, v, bias, tokens, dim)
        forward_kernel[(-(-longest // tile["ROWS"]), nodes * heads)](
            q, kx, vx, bound, starts, lengths, out, lse, *_head_strides(q), queries, 0, kx.shape[1], bound.shape[1],
            limit if q.dtype == torch.bfloat16 else 0.0,  # float16 ends at 65504
            HEADS=heads, KDIM=dim, VDIM=dim, ALIGN=alignment(q),
            WAIT=narrow.WAIT and not interpreted(), LISTED=True, **narrow.constants_of(width, False),
            **narrow.exponentials(width, False, share, True), **tile,
        )  # fmt: skip
    return out, lse


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    starts: Tensor,
    lengths: Tensor,
    tokens: Tensor,
    offsets: Tensor,
    places: Tensor,
    out: Tensor,
    lse: Tensor,
    longest: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v; every sum in a fixed order."""
    from pointcept_bsa.ops.dense_attention.narrow_gradient_kernels import pack_queries_kernel, query_gradient_kernel

    from .packed_kernels import sum_lists_kernel

    q, k, v, grad = (contiguous_rows(t) for t in (q, k, v, grad))
    queries, heads, width = q.shape
    nodes, keys = tokens.shape
    dim = power_of_2(width + COLUMNS, 16)
    constants: dict[str, Any] = narrow.constants_of(width, False) | dict(DIM=dim)
    padded = narrow.padded_rows(longest)
    qx, gx = (q.new_empty(nodes * heads, padded, dim) for _ in range(2))
    dq, dk, dv = (t.new_empty(t.shape) for t in (q, k, v))
    with on_device_of(q):
        kx, vx, _ = _pack(k, v, bias, tokens, dim)
        pack_queries_kernel[(padded // narrow.PACKED, nodes * heads)](
            q, out, grad, lse, starts, qx, gx, *_head_strides(q), *_head_strides(grad), queries, padded,
            HEADS=heads, ALIGN=alignment(q), OUT_ALIGN=alignment(grad, out),
            ROWS=narrow.PACKED, LISTED=True, num_warps=2, **constants,
        )  # fmt: skip
        with SideBySide(q, queries, narrow.FIRST_STREAM) as kernels:
            with kernels.side_stream():
                tile, share = narrow.tile_of("queries", dim)
                query_gradient_kernel[(-(-longest // tile["ROWS"]), nodes * heads)](
                    qx, gx, kx, vx, starts, lengths, dq, queries, 0, padded, kx.shape[1],
                    HEADS=heads, LISTED=True, **constants, **narrow.exponentials(width, False, share, False), **tile,
                )  # fmt: skip
            parts = narrow.key_gradients(
                qx,
                gx,
                kx=kx,
                vx=vx,
                queries=longest,
                keys=keys,
                listed=(starts, lengths),
                heads=heads,
                constants=constants,
            )
            channels = heads * width
            sum_lists_kernel[(k.shape[0], 2)](
                parts, offsets, places, dk, dv, keys, kx.shape[1], parts[0, 0].numel(), parts.shape[0],
                HEADS=heads, WIDTH=width, COLUMNS=power_of_2(channels), FACTOR=1 / math.sqrt(width),
                AT_ONCE=ROWS_AT_ONCE,
            )  # fmt: skip
    return dq, dk, dv
