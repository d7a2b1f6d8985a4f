"""One level of a ball tree in three launches, for nodes too large for one program and small against the GPU.

Runs of a node are sorted by a program each; then every point looks its place up in all runs of its node by bisection
and moves there. What is sorted is a number of 64 bits: the coordinate's in ascending order, then the rank at the level
before (equal coordinates keep their order), so that no two are equal.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.geometry.host_tables import on_device
from pointcept_bsa.geometry.split_keys_triton import extents_triton, largest_node, longest_axis, node_ends

MOST_RUNS = 16  # of a node
RUNS = (1024, 2048, 4096)  # points of a run: the least of which half of MOST_RUNS hold the node, or the last
LANES = 256  # points that a program moves
LANES_A_WARP = 128  # of a program that sorts
AT_ONCE = 4  # runs in which it looks them up at the same time


@triton.jit
def sort_lanes(x, width, LANES: tl.constexpr):
    """Sort each run of ``width`` lanes of x (LANES,) in ascending order, by Batcher's bitonic network.

    The same network as ``tl.sort``, in loops: that unrolls it, which takes minutes to compile at 1,024 lanes. Wants two
    warps or more: inside a single one, Triton makes a gather of shuffles from every register.
    """
    lane = tl.arange(0, LANES)
    block = 2
    while block <= width:
        step = block // 2
        while step > 0:
            other = tl.gather(x, lane ^ step, 0)
            descending = ((lane & block) != 0) & (block < width)
            takes_larger = descending ^ ((lane & step) != 0)
            x = tl.where((x > other) != takes_larger, other, x)
            step = step // 2
        block = block * 2
    return x


@triton.jit(do_not_specialize=["parts"])
def _sort_runs(COORD, STARTS, SPLIT, LOW, HIGH, KEYS, parts, SPACE: tl.constexpr, PARTS: tl.constexpr,
               RUN: tl.constexpr):  # fmt: skip
    node, run = tl.program_id(0), tl.program_id(1)
    first, last = tl.load(STARTS + node), tl.load(STARTS + node + 1)
    if first + run * RUN < last:
        axis = longest_axis(LOW, HIGH, node, parts, SPACE, PARTS)
        local = run * RUN + tl.arange(0, RUN)
        real = first + local < last
        bits = tl.load(COORD + (first + local) * SPACE + axis, mask=real, other=0.0).to(tl.int32, bitcast=True)
        bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        bits = tl.where(tl.load(SPLIT + node) != 0, bits, 0)
        # Lanes behind the node sort to the end of its last run, and are not stored.
        key = tl.where(real, (bits.to(tl.int64) << 32) | local.to(tl.int64), 0x7FFFFFFFFFFFFFFF)
        tl.store(KEYS + first + local, sort_lanes(key, RUN, RUN), mask=real)


@triton.jit(do_not_specialize=["groups"])
def _merge_runs(KEYS, COORD, ORDER, STARTS, COORD_OUT, ORDER_OUT, groups, SPACE: tl.constexpr, RUN: tl.constexpr,
                AT_ONCE: tl.constexpr, LANES: tl.constexpr):  # fmt: skip
    """Move each point of sorted runs to its place in the node: where the smaller keys of all runs end."""
    node = tl.program_id(0)
    first, last = tl.load(STARTS + node), tl.load(STARTS + node + 1)
    rank = first + tl.program_id(1) * LANES + tl.arange(0, LANES)
    real = rank < last
    key = tl.load(KEYS + rank, mask=real, other=0)
    # No two keys are equal: a place is the number of smaller ones, run by run, and all places differ.
    place = tl.zeros([LANES], tl.int32)
    for group in range(groups):
        begins = first + (group * AT_ONCE + tl.arange(0, AT_ONCE)) * RUN
        length = tl.minimum(last - begins, RUN)[None, :]  # less than 1: no such run
        smaller = tl.zeros([LANES, AT_ONCE], tl.int32)
        for halving in tl.static_range(RUN.bit_length()):
            # Bisection: ``smaller`` keys of the run are, are so many more?
            probe = smaller + (RUN >> halving)
            inside = real[:, None] & (probe <= length)
            other = tl.load(KEYS + begins[None, :] + probe - 1, mask=inside, other=0)
            smaller = tl.where(inside & (other < key[:, None]), probe, smaller)
        place += tl.sum(smaller, 1)
    source = first + (key & 0xFFFFFFFF)
    for axis in tl.static_range(SPACE):
        x = tl.load(COORD + source * SPACE + axis, mask=real, other=0.0)
        tl.store(COORD_OUT + (first + place) * SPACE + axis, x, mask=real)
    if ORDER is not None:
        source = tl.load(ORDER + source, mask=real, other=0)
    tl.store(ORDER_OUT + first + place, source, mask=real)


def sorting_warps(lanes: int) -> int:
    """Warps of a program that sorts so many lanes."""
    return min(16, max(2, lanes // LANES_A_WARP))


def run_of(largest: int, runs: tuple[int, ...] = RUNS) -> int | None:
    """Points of a run where the largest node has ``largest`` points; None if it is too large for this."""
    fitting = [run for run in runs if largest <= run * MOST_RUNS // 2] or [runs[-1]]
    return fitting[0] if largest <= fitting[0] * MOST_RUNS else None


def sort_level_triton(
    coord: Tensor, order: Tensor | None, starts: np.ndarray, split: np.ndarray, run: int
) -> tuple[Tensor, Tensor]:
    """Sort each node of a level along its axis of largest extent.

    Args:
        coord: (M, d) float32 positions in the order of the level before, none of them -0.0.
        order: (M,) the point at each rank; None: that of the same number.
        starts, split: first rank of each node, and whether it is split; the points of others keep their order.
        run: points of a run, a power of two; the largest node has :data:`MOST_RUNS` of them at most.

    Returns:
        Coordinates and int64 order at this level.
    """
    points, space = coord.shape
    coord = coord.contiguous()
    largest = largest_node(starts, points)
    runs = -(-largest // run)
    first = on_device(node_ends(starts, points), coord.device)
    parts = on_device(split, coord.device).view(torch.uint8)
    low, high = extents_triton(coord, starts, run)
    keys = torch.empty(points, dtype=torch.long, device=coord.device)
    coord_out, order_out = torch.empty_like(coord), torch.empty_like(keys)
    with on_device_of(coord):
        _sort_runs[(len(starts), runs)](
            coord, first, parts, low, high, keys, runs, SPACE=space, PARTS=MOST_RUNS, RUN=run,
            num_warps=sorting_warps(run),
        )  # fmt: skip
        _merge_runs[(len(starts), -(-largest // LANES))](
            keys, coord, order, first, coord_out, order_out, -(-runs // AT_ONCE),
            SPACE=space, RUN=run, AT_ONCE=AT_ONCE, LANES=LANES, num_warps=8,
        )  # fmt: skip
    return coord_out, order_out
