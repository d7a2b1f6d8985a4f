"""Launches of the kernels of attention to lists of tokens, as a custom operator: ``pcbsa::tree_attention``.

It keeps q, k, v, the output and one number a query and head for the backward pass. There each list has a row of its own
for the gradients of its tokens, K H D numbers a node, which are then summed by token. Narrow heads in 16 bits take
the way of :mod:`.packed`, the others that of :mod:`.kernels`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import interpreted, on_device_of
from pointcept_bsa.ops.launch import contiguous_rows, power_of_2, precision
from pointcept_bsa.ops.operator import operator

from . import packed
from .lists import TokenLists

MAX_DIM = 128
# Tiles (queries, keys, warps) by kernel; wide heads and single precision take smaller ones.
TILES = {"forward": (128, 64, 4), "queries": (128, 64, 4), "tokens": (64, 64, 4)}
PARTS = 16  # rows of a sum at once


def unsupported(q: Tensor) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if q.shape[-1] > MAX_DIM:
        return f"q: got {q.shape[-1]} channels a head, wanted at most {MAX_DIM}"
    return None


def _tiles(kernel: str, q: Tensor) -> dict[str, int]:
    rows, keys, warps = TILES[kernel]
    shrink = (2 if q.shape[-1] > 32 else 1) * (2 if q.dtype == torch.float32 else 1)
    return dict(ROWS=max(16, rows // shrink), KEYS=max(16, keys // shrink), num_warps=warps)


def _constants(q: Tensor) -> dict[str, Any]:
    return dict(
        HEADS=q.shape[1],
        DIM=power_of_2(q.shape[2], 16),
        WIDTH=q.shape[2],
        PRECISION=precision(),
        UPCAST=interpreted() and q.dtype != torch.float32,
    )


@operator("pcbsa::tree_attention")
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    starts: Tensor,
    lengths: Tensor,
    tokens: Tensor,
    offsets: Tensor,
    places: Tensor,
    longest: int,
) -> tuple[Tensor, Tensor]:
    """``longest``: most queries of a node."""
    if packed.fits(q, tokens.shape[0]):
        return packed.forward(q, k, v, bias, starts, lengths, tokens, longest)
    from .kernels import forward_kernel

    q, k, v = (contiguous_rows(t) for t in (q, k, v))
    queries, heads, dim = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(heads, queries, dtype=torch.float32, device=q.device)
    strides = [s for t in (q, k, v) for s in t.stride()[:2]]
    tiles = _tiles("forward", q)
    parts = -(-longest // tiles["ROWS"])
    with on_device_of(q):
        forward_kernel[(parts * tokens.shape[0], heads)](
            q, k, v, bias, starts, lengths, tokens, out, lse, *strides, queries, tokens.shape[1], parts,
            1 / math.sqrt(dim), **_constants(q), **tiles,
        )  # fmt: skip
    return out, lse


@_forward.register_fake
def _(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    return out, q.new_empty((q.shape[1], q.shape[0]), dtype=torch.float32)


@operator("pcbsa::tree_attention_backward")
def _backward(
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
    if packed.fits(q, tokens.shape[0]):
        return packed.backward(grad, q, k, v, bias, starts, lengths, tokens, offsets, places, out, lse, longest)
    from .kernels import query_gradient_kernel, sum_kernel, token_gradient_kernel

    q, k, v = (contiguous_rows(t) for t in (q, k, v))
    grad = grad.contiguous()
    queries, heads, dim = q.shape
    nodes, width = tokens.shape
    delta = torch.empty_like(lse)
    dq, dk, dv = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v))
    parts_k, parts_v = (torch.empty(nodes * width, heads, dim, dtype=torch.float32, device=q.device) for _ in range(2))
    strides = [s for t in (q, k, v) for s in t.stride()[:2]]
    numbers, constants = (1 / math.sqrt(dim),), _constants(q)
    lists = bias, starts, lengths, tokens
    with on_device_of(q):
        tiles = _tiles("queries", q)
        count = -(-longest // tiles["ROWS"])
        query_gradient_kernel[(count * nodes, heads)](
            q, k, v, *lists, out, lse, grad, delta, dq, *strides, queries, width, count, *numbers, **constants, **tiles
        )
        tiles = _tiles("tokens", q)
        count = -(-width // tiles["KEYS"])
        token_gradient_kernel[(count * nodes, heads)](
            q, k, v, *lists, lse, grad, delta, parts_k, parts_v, *strides, queries, width, count, *numbers,
            **constants, **tiles,
        )  # fmt: skip
        channels = heads * dim
        sum_kernel[(k.shape[0],)](
            parts_k, parts_v, offsets, places, dk, dv, C=channels, COLUMNS=power_of_2(channels), PARTS=PARTS
        )
    return dq, dk, dv


@_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v))
    return dq, dk, dv


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:9], *output)
    ctx.longest = inputs[9]
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 10
    return *_backward(grad, *ctx.saved_tensors, ctx.longest), *(None,) * 7


_forward.register_autograd(_gradient, setup_context=_keep)


@register_flop_formula(torch.ops.pcbsa.tree_attention)
def _flops(q: Any, k: Any, v: Any, bias: Any, starts: Any, lengths: Any, tokens: Any, *a: Any, **kw: Any) -> int:
    """Every query at every place of the lists: those behind the last of a list are counted, too."""
    return int(4 * math.prod(q) * tokens[1])


@register_flop_formula(torch.ops.pcbsa.tree_attention_backward)
def _flops_backward(
    grad: Any, q: Any, k: Any, v: Any, bias: Any, starts: Any, lengths: Any, tokens: Any, *a: Any, **kw: Any
) -> int:
    return int(10 * math.prod(q) * tokens[1])


def tree_attention_triton(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, lists: TokenLists) -> Tensor:
    """As :func:`.reference.tree_attention`, by the kernels."""
    tables = lists.starts, lists.lengths, lists.tokens, lists.offsets, lists.places
    out: Tensor = _forward(q, k, v, bias, *tables, max(lists.queries))[0]
    return out
