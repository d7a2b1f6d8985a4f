"""Triton kernel of one step of the selection by descent. A program holds ROWS query groups of one head."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def best_children_kernel(
    Q, K, PARENTS, FIRST, HIDDEN, OUT, groups, q_row, q_head, k_row, k_head, own_groups, own_children,
    H: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr, FAN: tl.constexpr, PLACES: tl.constexpr,
    KEEP: tl.constexpr, OWN: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """OUT (G, H, KEEP), the best of the FAN children of WIDTH parents each, in PLACES places. Ties: the first place."""
    head = tl.program_id(1)
    group = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = group < groups
    place = tl.arange(0, PLACES)
    at = group.to(tl.int64)[:, None] * (H * WIDTH) + head * WIDTH + (place // FAN)[None, :]
    parent = tl.load(PARENTS + at, mask=here[:, None] & (place < WIDTH * FAN)[None, :], other=-1).to(tl.int32)
    there = parent >= 0
    child = tl.load(FIRST + parent, mask=there, other=0) + (place % FAN)[None, :]
    there = there & (child < tl.load(FIRST + parent + 1, mask=there, other=0))
    there = there & (tl.load(HIDDEN + child, mask=there, other=1) == 0)
    if OWN:
        there = there & (child // own_children != (group // own_groups)[:, None])
    channel = tl.arange(0, DIM)
    in_row, in_child = here[:, None], there[:, :, None]
    if DIM > D:  # else the channels of a key come in one load
        in_row = in_row & (channel < D)[None, :]
        in_child = in_child & (channel < D)[None, None, :]
    q = tl.load(Q + group.to(tl.int64)[:, None] * q_row + head * q_head + channel[None, :], mask=in_row, other=0.0)
    where = child.to(tl.int64)[:, :, None] * k_row + head * k_head + channel[None, None, :]
    k = tl.load(K + where, mask=in_child, other=0.0)
    score = tl.sum(q.to(tl.float32)[:, None, :] * k.to(tl.float32), 2)
    score = tl.where(there, score, -float("inf"))
    for rank in tl.static_range(KEEP):
        best = tl.max(score, 1)
        first = tl.min(tl.where(score == best[:, None], place[None, :], PLACES), 1)
        mine = place[None, :] == first[:, None]
        found = tl.sum(tl.where(mine, child, 0), 1)
        found = tl.where(best > -float("inf"), found, -1)
        tl.store(OUT + group.to(tl.int64) * (H * KEEP) + head * KEEP + rank, found.to(tl.int64), mask=here)
        score = tl.where(mine, -float("inf"), score)
