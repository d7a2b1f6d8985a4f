"""One step of the selection by descent by the Triton kernel, as the custom op ``pcbsa::best_children``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.launch import as_bytes, power_of_2, rows_together

MAX_PLACES = 1024  # children that a group compares
ELEMENTS = 8192  # of the children's keys in a program


def unsupported(q: Tensor, k: Tensor, parents: Tensor, fan: int) -> str | None:
    """What the kernel cannot do of a call, or None."""
    if k.dtype != q.dtype:
        return f"k: got {k.dtype}, wanted {q.dtype} as q"
    if parents.shape[2] * fan > MAX_PLACES:
        return f"beam times fan: got {parents.shape[2] * fan}, wanted at most {MAX_PLACES}"
    return None


@torch.library.custom_op("pcbsa::best_children", mutates_args=())
def best_children_op(
    q: Tensor,
    k: Tensor,
    parents: Tensor,
    first_child: Tensor,
    hidden: Tensor,
    fan: int,
    keep: int,
    own: list[int],
) -> Tensor:
    """See the reference for what it computes; scores in float32. Equal scores: the child of the better parent first."""
    from .kernels import best_children_kernel

    q, k = (rows_together(t.detach()) for t in (q, k))
    groups, heads, dim = q.shape
    width = parents.shape[2]
    out = torch.empty(groups, heads, keep, dtype=torch.int64, device=q.device)
    places = power_of_2(width * fan)
    channels = power_of_2(dim)
    rows = max(1, ELEMENTS // (places * channels))
    with on_device_of(q):
        best_children_kernel[(-(-groups // rows), heads)](
            q,
            k,
            parents.contiguous(),
            first_child,
            as_bytes(hidden),
            out,
            groups,
            *q.stride()[:2],
            *k.stride()[:2],
            *(own or (1, 1)),
            H=heads,
            D=dim,
            DIM=channels,
            WIDTH=width,
            FAN=fan,
            PLACES=places,
            KEEP=keep,
            OWN=bool(own),
            ROWS=rows,
        )
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
) -> Tensor:
    return q.new_empty((q.shape[0], q.shape[1], keep), dtype=torch.int64)


@register_flop_formula(torch.ops.pcbsa.best_children)
def _flops(q: Any, k: Any, parents: Any, first: Any, hidden: Any, fan: int, *a: Any, **kw: Any) -> int:
    return int(2 * math.prod(q) * parents[2] * fan)
