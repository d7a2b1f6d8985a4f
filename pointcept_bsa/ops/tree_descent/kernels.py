"""Triton kernel of one step of the selection by descent. A thread holds one query group of one head."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


# Not specialised: Triton would compile anew for each such number that is 1, or a multiple of 16, or neither.
@triton.jit(do_not_specialize=["groups", "fan"])
def best_children_kernel(
    Q, K, PARENTS, FIRST, HIDDEN, BALL, OUT, groups, q_row, q_head, k_row, k_head, parent_row, parent_head,
    own_groups, fan,
    H: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    KEEP: tl.constexpr, PLACES: tl.constexpr, OWN: tl.constexpr, OWN_CHILDREN: tl.constexpr, ALIGN: tl.constexpr,
    ROWS: tl.constexpr, UNROLLED: tl.constexpr,
):  # fmt: skip
    """OUT (G, H, KEEP), the best of the at most ``fan`` children of WIDTH parents each. A child that beats the worst
    of those kept in PLACES places, a power of two from KEEP on, takes its place; at last they are sorted. With its
    channels in one load, which ALIGN allows, and PLACES ahead of ROWS, all that a group compares stays within its
    thread. OWN: 0 for any child, 1 for none in the ball of the group by its number, 2 by BALL (G,). UNROLLED: children
    at a time."""
    head = tl.program_id(1)
    group = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = group < groups
    wide = group.to(tl.int64)
    channel = tl.arange(0, DIM)
    place = tl.arange(0, PLACES)[:, None]
    within = here[:, None] & (channel < D)[None, :]
    where = tl.multiple_of(wide * q_row + head * q_head, ALIGN)
    q = tl.load(Q + where[:, None] + channel[None, :], mask=within, other=0.0).to(tl.float32)
    own = group // own_groups
    if OWN == 2:
        own = tl.load(BALL + wide, mask=here, other=-1).to(tl.int32)
    # Places from KEEP on only fill up the power of two: nothing is better.
    score = tl.where(place < KEEP, tl.full([PLACES, ROWS], -float("inf"), tl.float32), float("inf"))
    kept = tl.full([PLACES, ROWS], -1, tl.int32)
    for number in range(WIDTH):
        parent = tl.load(PARENTS + wide * parent_row + head * parent_head + number, mask=here, other=-1).to(tl.int32)
        first = tl.load(FIRST + parent, mask=parent >= 0, other=0).to(tl.int32)
        end = tl.load(FIRST + parent + 1, mask=parent >= 0, other=0)
        for start in range(0, fan, UNROLLED):
            for each in tl.static_range(UNROLLED):
                child = first + start + each
                there = child < end
                there = there & (tl.load(HIDDEN + child, mask=there, other=1) == 0)
                if OWN:
                    there = there & (child // OWN_CHILDREN != own)
                seen = there[:, None]
                if DIM > D:  # else the channels of a key come in one load
                    seen = seen & (channel < D)[None, :]
                where = tl.multiple_of(child.to(tl.int64) * k_row + head * k_head, ALIGN)
                k = tl.load(K + where[:, None] + channel[None, :], mask=seen, other=0.0).to(tl.float32)
                new = tl.where(there, tl.sum(q * k, 1), -float("inf"))[None, :]
                lowest, where_lowest = tl.min(score, 0, return_indices=True, return_indices_tie_break_left=False)
                replaced = (place == where_lowest[None, :]) & (new > lowest[None, :])
                score = tl.where(replaced, new, score)
                kept = tl.where(replaced, child[None, :], kept)
    score = tl.where(place < KEEP, score, -float("inf"))
    for rank in tl.static_range(KEEP):
        best = tl.max(score, 0)[None, :]
        # Empty places hold -inf and -1. Of kept ones with equal scores the lower comes first.
        earliest = tl.min(tl.where((score == best) & (kept >= 0), kept, 2147483647), 0)[None, :]
        found = tl.where(best > -float("inf"), earliest, -1)
        target = OUT + wide[None, :] * (H * KEEP) + head * KEEP + rank
        tl.store(target, found.to(tl.int64), mask=here[None, :])
        score = tl.where(kept == earliest, -float("inf"), score)
