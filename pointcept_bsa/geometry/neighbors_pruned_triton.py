"""Exact nearest neighbours of large clouds: most of a cloud is left out without looking at its points.

The points of each cloud are put into Morton order and cut into blocks of ``BLOCK``, which are compact in space; each
has its bounding box, and each ``GROUP`` of blocks has one. A program finds the neighbours of all points of one block.
It begins with this block and the two beside it, which give it ``k`` near points for each of its own. Then it goes over
the other boxes, groups first, the nearest first, and opens those that are no farther away than the farthest neighbour
kept: a box whose nearest side is beyond it holds no point that could be one.

Where distances are rounded, a box must not seem farther away than its points: its distance is made smaller by
``SLACK``. The order decides about speed alone; that of the result is the distance, then the index.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from pointcept_bsa.geometry.host_tables import host_table, on_device

BLOCK = 32  # points of a block, one for each thread of a warp
GROUP = 64  # blocks whose boxes are looked at together
DEPTH = 16  # bits of each axis in the Morton code, unless there are very many clouds
ENTRIES = tl.constexpr(5)  # of a row of block_table
SLACK = tl.constexpr(1 - 1e-5)
TINY = tl.constexpr(1e-37)  # what rounding costs where squares are no normal numbers any more
NEVER = tl.constexpr(0x7FFFFFFF << 32)  # more than any packed distance


@lru_cache(maxsize=16)
def block_table(lengths: tuple[int, ...], size: int) -> np.ndarray:
    """Clouds cut into blocks of up to ``size`` consecutive points: (blocks, 5) int32.

    A block's first point; where its cloud ends; the first block of its cloud and where they end; the cloud.
    """
    counts = -(-np.asarray(lengths) // size)
    ends, blocks = np.cumsum(lengths), np.cumsum(counts)
    clouds = np.arange(len(lengths)).repeat(counts)
    first = (blocks - counts)[clouds]
    point = (ends - lengths)[clouds] + (np.arange(len(clouds)) - first) * size
    table = np.stack([point, ends[clouds], first, blocks[clouds], clouds], 1)
    return host_table(table.astype(np.int32))


@triton.jit
def _codes(COORD, TABLE, LOW, HIGH, CODE, SPACE: tl.constexpr, AXES: tl.constexpr, DEPTH: tl.constexpr,
           BLOCK: tl.constexpr):  # fmt: skip
    """CODE (N,): the cloud, then DEPTH bits of each of the first AXES coordinates, interleaved."""
    block = tl.program_id(0)
    rows = tl.load(TABLE + block * ENTRIES) + tl.arange(0, BLOCK)
    here = rows < tl.load(TABLE + block * ENTRIES + 1)
    longest = tl.load(HIGH) - tl.load(LOW)
    for axis in tl.static_range(1, AXES):
        longest = tl.maximum(longest, tl.load(HIGH + axis) - tl.load(LOW + axis))
    # One scale for all axes, so that cells are cubes; points that all coincide fall into one.
    cells = (2.0**DEPTH - 1) / tl.maximum(longest, 1e-30)
    code = tl.zeros([BLOCK], tl.int64) + tl.load(TABLE + block * ENTRIES + 4)
    code = code << (AXES * DEPTH)
    for axis in tl.static_range(AXES):
        x = tl.load(COORD + rows.to(tl.int64) * SPACE + axis, mask=here, other=0.0)
        x = tl.minimum(tl.maximum((x - tl.load(LOW + axis)) * cells, 0.0), 2.0**DEPTH - 1)
        cell = x.to(tl.int32)
        for bit in tl.static_range(DEPTH):
            code |= ((cell >> bit) & 1).to(tl.int64) << (bit * AXES + AXES - 1 - axis)
    tl.store(CODE + rows, code, mask=here)


# Not specialised: Triton would compile anew for each such number that is 1, or a multiple of 16, or neither.
@triton.jit(do_not_specialize=["points"])
def _boxes(COORD, TABLE, ORDER, SORTED, BOXES, points, columns, SPACE: tl.constexpr, BLOCK: tl.constexpr):
    """SORTED (SPACE, N): the coordinates in order. BOXES (2 SPACE, columns): least coordinates, greatest ones * -1."""
    block = tl.program_id(0)
    rows = tl.load(TABLE + block * ENTRIES) + tl.arange(0, BLOCK)
    here = rows < tl.load(TABLE + block * ENTRIES + 1)
    point = tl.load(ORDER + rows, mask=here, other=0)
    for axis in tl.static_range(SPACE):
        x = tl.load(COORD + point * SPACE + axis, mask=here, other=0.0)
        tl.store(SORTED + axis * points + rows, x, mask=here)
        # Both are minima: groups take one ``amin`` of all, and inf stands for no point in either.
        tl.store(BOXES + axis * columns + block, tl.min(tl.where(here, x, float("inf")), 0))
        tl.store(BOXES + (SPACE + axis) * columns + block, tl.min(tl.where(here, -x, float("inf")), 0))


@triton.jit
def _distance_bits(gap_squared):
    """Bits of a squared distance that no rounding has made too large, as an int64 to compare."""
    # Floats from 0 on compare as their bits do.
    return tl.maximum(gap_squared * SLACK - TINY, 0.0).to(tl.int32, bitcast=True).to(tl.int64)


@triton.jit
def _by_distance(BOXES, OWN, which, here, columns, own_columns, own, SPACE: tl.constexpr, SIZE: tl.constexpr):
    """Packed distances of the boxes ``which`` of BOXES from box ``own`` of OWN; NEVER where not ``here``."""
    squared = tl.zeros([SIZE], tl.float32)
    for axis in tl.static_range(SPACE):
        low = tl.load(BOXES + axis * columns + which, mask=here, other=0.0)
        minus_high = tl.load(BOXES + (SPACE + axis) * columns + which, mask=here, other=0.0)
        own_low = tl.load(OWN + axis * own_columns + own)
        own_minus_high = tl.load(OWN + (SPACE + axis) * own_columns + own)
        # low - own high, or own low - high, whichever is above 0.
        gap = tl.maximum(tl.maximum(low + own_minus_high, own_low + minus_high), 0.0)
        squared += gap * gap
    return tl.where(here, (_distance_bits(squared) << 32) + which.to(tl.int64), NEVER)


@triton.jit
def _visit(SORTED, BOXES, ORDER, other, keys_from, end, rows, here, points, columns, best, worst,
           SPACE: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Look for nearer points in block ``other``: the new ``best`` and ``worst``."""
    squared = tl.zeros([BLOCK], tl.float32)
    for axis in tl.static_range(SPACE):
        a = tl.load(SORTED + axis * points + rows, mask=here, other=0.0)
        low = tl.load(BOXES + axis * columns + other)
        minus_high = tl.load(BOXES + (SPACE + axis) * columns + other)
        gap = tl.maximum(tl.maximum(low - a, a + minus_high), 0.0)
        squared += gap * gap
    if tl.max((_distance_bits(squared) <= (worst >> 32)).to(tl.int32), 0) > 0:
        keys = keys_from + tl.arange(0, BLOCK)
        inside = keys < end
        squared_of = tl.zeros([BLOCK, BLOCK], tl.float32)
        for axis in tl.static_range(SPACE):
            a = tl.load(SORTED + axis * points + rows, mask=here, other=0.0)
            b = tl.load(SORTED + axis * points + keys, mask=inside, other=0.0)
            difference = a[None, :] - b[:, None]
            squared_of += difference * difference
        index = tl.load(ORDER + keys, mask=inside, other=0)
        packed = (squared_of.to(tl.int32, bitcast=True).to(tl.int64) << 32) + index[:, None]
        packed = tl.where(inside[:, None], packed, NEVER)
        # The lowest of the block takes the place of the worst kept, in all queries at once, until no query has a better
        # one. Packed numbers all differ (they hold the index), so just one place is taken.
        lowest = tl.min(packed, 0)
        while tl.max((lowest < worst).to(tl.int32), 0) > 0:
            better = lowest < worst
            best = tl.where((best == worst[None, :]) & better[None, :], lowest[None, :], best)
            packed = tl.where(packed == lowest[None, :], NEVER, packed)
            worst = tl.max(best, 0)
            lowest = tl.min(packed, 0)
    return best, worst


@triton.jit(do_not_specialize=["points", "groups", "farthest"])
def _nearest_blocks(SORTED, BOXES, GROUPS, ORDER, TABLE, OUT, points, columns, groups, farthest,
                    SPACE: tl.constexpr, COUNT: tl.constexpr, COUNT_UP: tl.constexpr, BLOCK: tl.constexpr,
                    GROUP: tl.constexpr):  # fmt: skip
    """OUT (N, COUNT_UP) as of the kernel that compares all points. A thread holds one query, and all it has kept."""
    block = tl.program_id(0)
    start = tl.load(TABLE + block * ENTRIES)
    end = tl.load(TABLE + block * ENTRIES + 1)
    first = tl.load(TABLE + block * ENTRIES + 2)
    last = tl.load(TABLE + block * ENTRIES + 3)
    rows = start + tl.arange(0, BLOCK)
    here = rows < end
    kept = tl.arange(0, COUNT_UP)[:, None]
    # As far as allowed, with indices from 2^31 on, which no point has, all different. -1, where nothing is looked for,
    # is below every packed number: nothing takes its place.
    none = (tl.zeros([COUNT_UP, BLOCK], tl.int64) + farthest << 32) + 0x80000000 + kept
    best = tl.where((kept < COUNT) & here[None, :], none, -1)
    worst = tl.max(best, 0)
    for step in range(3):  # this block, the one before, the one behind
        other = block + (step + 1) // 2 * (1 - 2 * (step % 2))
        if (other >= first) & (other < last):
            best, worst = _visit(SORTED, BOXES, ORDER, other, start + (other - block) * BLOCK, end, rows, here, points,
                                 columns, best, worst, SPACE, BLOCK)  # fmt: skip
    each = tl.arange(0, GROUP)
    last_group = (last - 1) // GROUP + 1
    for some in range(first // GROUP, last_group, GROUP):
        group = some + each
        far_groups = _by_distance(GROUPS, BOXES, group, group < last_group, groups, columns, block, SPACE, GROUP)
        nearest_group = tl.min(far_groups, 0)
        # Not <: at the same distance the lower index comes first. NEVER lies above the bits of inf: it ends the loop.
        while (nearest_group >> 32) <= (tl.max(worst, 0) >> 32):
            far_groups = tl.where(far_groups == nearest_group, NEVER, far_groups)
            others = (nearest_group & 0x7FFFFFFF).to(tl.int32) * GROUP + each
            unseen = (others >= first) & (others < last) & ((others < block - 1) | (others > block + 1))
            far = _by_distance(BOXES, BOXES, others, unseen, columns, columns, block, SPACE, GROUP)
            nearest = tl.min(far, 0)
            while (nearest >> 32) <= (tl.max(worst, 0) >> 32):
                far = tl.where(far == nearest, NEVER, far)
                other = (nearest & 0x7FFFFFFF).to(tl.int32)
                best, worst = _visit(SORTED, BOXES, ORDER, other, start + (other - block) * BLOCK, end, rows, here,
                                     points, columns, best, worst, SPACE, BLOCK)  # fmt: skip
                nearest = tl.min(far, 0)
            nearest_group = tl.min(far_groups, 0)
    point = tl.load(ORDER + rows, mask=here, other=0)
    tl.store(OUT + point[None, :] * COUNT_UP + kept, best, mask=here[None, :])


def nearest_pruned(coord: Tensor, lengths: tuple[int, ...], packed: Tensor, k: int, farthest: int) -> None:
    """Fill ``packed`` (N, count) for the points ``coord`` (N, d)."""
    points, space = coord.shape
    table = on_device(block_table(lengths, BLOCK), coord.device)
    blocks = len(table)
    groups = -(-blocks // GROUP)
    axes = min(space, 3)
    depth = min(DEPTH, (62 - len(lengths).bit_length()) // axes)  # with the cloud in 63 bits
    code = torch.empty(points, dtype=torch.long, device=coord.device)
    low, high = torch.aminmax(coord, dim=0)
    _codes[(blocks,)](
        coord, table, low, high, code, SPACE=space, AXES=axes, DEPTH=depth, BLOCK=BLOCK, num_warps=1
    )  # fmt: skip
    order = code.sort().indices
    ordered = coord.new_empty(space, points)
    boxes = coord.new_full((2 * space, groups * GROUP), torch.inf)
    _boxes[(blocks,)](
        coord, table, order, ordered, boxes, points, boxes.shape[1], SPACE=space, BLOCK=BLOCK, num_warps=1
    )  # fmt: skip
    boxes_of_groups = boxes.view(2 * space, groups, GROUP).amin(2)
    _nearest_blocks[(blocks,)](
        ordered, boxes, boxes_of_groups, order, table, packed, points, boxes.shape[1], groups, farthest,
        SPACE=space, COUNT=k, COUNT_UP=packed.shape[1], BLOCK=BLOCK, GROUP=GROUP, num_warps=1,
    )  # fmt: skip
