"""One step of the selection by descent by the Triton kernel, as the custom op ``pcbsa::best_children``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.launch import alignment, as_bytes, contiguous_rows, power_of_2
from pointcept_bsa.ops.operator import operator

MAX_KEEP = 64  # places, of which a thread holds all
ROWS, WARPS = 32, 1  # groups of a program: one a thread
UNROLLED = 8  # children of a parent at a time: their keys are loaded while others are compared


def unsupported(q: Tensor, k: Tensor, keep: int) -> str | None:
    """What the kernel cannot do of a call, or None."""
    if k.dtype != q.dtype:
        return f"k: got {k.dtype}, wanted {q.dtype} as q"
    if keep > MAX_KEEP:
        return f"beam: got {keep}, wanted at most {MAX_KEEP}"
    return None


@operator("pcbsa::best_children")
def best_children_op(
    q: Tensor,
    k: Tensor,
    parents: Tensor,
    first_child: Tensor,
    hidden: Tensor,
    fan: int,
    keep: int,
    own: list[int],
    ball: Tensor | None = None,
) -> Tensor:
    """See the reference for what it computes; scores in float32."""
    from .kernels import best_children_kernel

    q, k, parents = (contiguous_rows(t) for t in (q, k, parents))
    groups, heads, dim = q.shape
    width = parents.shape[2]
    out = torch.empty(groups, heads, keep, dtype=torch.int64, device=q.device)
    way = 0 if not own else 1 if ball is None else 2
    whose = first_child if ball is None else ball.contiguous()  # any pointer where it is not read
    with on_device_of(q):
        best_children_kernel[(-(-groups // ROWS), heads)](
            q, k, parents, first_child, as_bytes(hidden), whose, out, groups,
            *q.stride()[:2], *k.stride()[:2], *parents.stride()[:2], own[0] if own else 1, fan,
            H=heads, D=dim, DIM=power_of_2(dim), WIDTH=width, KEEP=keep, PLACES=power_of_2(keep, 2),
            OWN=way, OWN_CHILDREN=own[1] if own else 1, ALIGN=alignment(q, k),
            ROWS=ROWS, UNROLLED=min(UNROLLED, power_of_2(fan)), num_warps=WARPS,
        )  # fmt: skip
    return out


@best_children_op.register_fake
def _(
    q: Tensor,
    k: Tensor,
    parents: Tensor,
    first_child: Tensor,
    hidden: Tensor,
    fan: int,
    keep: int,
    own: list[int],
    ball: Tensor | None = None,
) -> Tensor:
    return q.new_empty((q.shape[0], q.shape[1], keep), dtype=torch.int64)


@register_flop_formula(torch.ops.pcbsa.best_children)
def _flops(q: Any, k: Any, parents: Any, first: Any, hidden: Any, fan: int, *a: Any, **kw: Any) -> int:
    return int(2 * math.prod(q) * parents[2] * fan)
