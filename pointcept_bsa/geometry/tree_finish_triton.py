"""The last levels of a ball tree in one launch: a program takes a node and sorts it down to the leaves in registers.

A node lies in ``2^k * w`` lanes as ``2^k`` rows, the nodes of level ``k`` below it, each of which holds its points
without gaps and empty lanes before or behind them. Empty lanes sort to the front or to the end. They are shared out
so that the points of the left child come to end at the middle of the row and those of the right child to begin there:
then each half of the row is a row of the next level, and nothing has to be moved. What is sorted is a number of 64
bits: the coordinate's in ascending order, the lane (equal coordinates keep their order), the point.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.geometry.host_tables import derived, on_device
from pointcept_bsa.geometry.split_keys_triton import power_of_2
from pointcept_bsa.geometry.tree_runs_triton import sort_lanes, sorting_warps

Level = tuple[np.ndarray, np.ndarray]  # first rank of each node, whether it is split


@triton.jit
def _sort_rows(held, COORD, ENDS, SPACE: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, BELOW: tl.constexpr):
    """Sort each row of ``held``, the point in each of ROWS * WIDTH lanes, by a table ENDS of ROWS * BELOW leaves.

    Coordinates are loaded in the order of the level at which the launch began and looked up in shared memory: fetched
    in the order of this level, each would cost a line of its own.
    """
    LANES: tl.constexpr = ROWS * WIDTH
    row, lane = tl.arange(0, ROWS)[:, None], tl.arange(0, WIDTH)[None, :]
    first, last = tl.load(ENDS + row * BELOW), tl.load(ENDS + row * BELOW + BELOW)
    middle = tl.load(ENDS + row * BELOW + BELOW // 2)
    before = tl.where((row % 2 == 0) & (ROWS > 1), WIDTH - (last - first), 0)  # empty lanes in front
    real = (lane >= before) & (lane < before + last - first)

    rank = tl.load(ENDS).to(tl.int64) + tl.arange(0, LANES)
    inside = rank < tl.load(ENDS + ROWS * BELOW)
    longest = tl.full([ROWS, 1], -1.0, tl.float64)
    along = tl.zeros([ROWS, WIDTH], tl.float32)
    for axis in tl.static_range(SPACE):
        x = tl.load(COORD + rank * SPACE + axis, mask=inside, other=0.0)
        x = tl.reshape(tl.gather(x, held, 0), [ROWS, WIDTH])
        low = tl.min(tl.where(real, x, float("inf")), 1, keep_dims=True)
        high = tl.max(tl.where(real, x, -float("inf")), 1, keep_dims=True)
        extent = high.to(tl.float64) - low.to(tl.float64)
        along = tl.where(extent > longest, x, along)
        longest = tl.maximum(longest, extent)
    bits = along.to(tl.int32, bitcast=True)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    bits = tl.where(middle < last, bits, 0)  # a leaf keeps its order
    # The network is not stable: the lane tells equal coordinates apart. Few lanes: 16 bits hold each.
    key = (bits.to(tl.int64) << 32) | (lane << 16 | tl.reshape(held, [ROWS, WIDTH])).to(tl.int64)
    # Empty lanes numbered through, of which so many go to the front that the left child ends at the middle.
    to_front = tl.where(lane < before, lane, lane - (last - first)) < WIDTH // 2 - (middle - first)
    key = tl.where(real, key, tl.where(to_front, -0x8000000000000000, 0x7FFFFFFFFFFFFFFF))
    # The low bits hold the point; of an empty lane they are some lane, which is never ``real``.
    return (sort_lanes(tl.reshape(key, [LANES]), WIDTH, LANES) & (LANES - 1)).to(tl.int32)


@triton.jit(do_not_specialize=["points"])
def _finish(COORD, ORDER, ENDS, OUT, points, SPACE: tl.constexpr, DEPTH: tl.constexpr, LEAF: tl.constexpr):
    """Order the points of a node along its subtree of DEPTH levels: OUT, by rank."""
    LEAVES: tl.constexpr = 1 << DEPTH
    ENDS += tl.program_id(0).to(tl.int64) * (LEAVES + 1)
    held = tl.arange(0, LEAVES * LEAF)
    for level in tl.static_range(DEPTH):
        held = _sort_rows(held, COORD, ENDS, SPACE, 1 << level, LEAF << (DEPTH - level), 1 << (DEPTH - level))
    held = tl.reshape(held, [LEAVES, LEAF])
    row, lane = tl.arange(0, LEAVES)[:, None], tl.arange(0, LEAF)[None, :]
    first, last = tl.load(ENDS + row), tl.load(ENDS + row + 1)
    before = tl.where(row % 2 == 0, LEAF - (last - first), 0)
    real = (lane >= before) & (lane < before + last - first)
    source = (tl.load(ENDS) + held).to(tl.int64)
    if ORDER is not None:
        source = tl.load(ORDER + source, mask=real, other=0)
    # Trees lie one behind the other: ranks count through all of them, points anew in each.
    tl.store(OUT + first + lane - before, source % points, mask=real)


def finish_triton(coord: Tensor, order: Tensor | None, levels: tuple[Level, ...], clouds: int) -> Tensor:
    """Sort nodes through all levels that are left.

    Args:
        coord: (M, d) float32 positions in the order of the level before, none of them -0.0.
        order: (M,) the point at each rank; None: that of the same number.
        levels: of the tree, one or more.
        clouds: the points are numbered anew after each M / ``clouds`` of them.

    Returns:
        (M,) int64, the point at each rank of the finished tree, numbered as said above.
    """
    points, space = coord.shape
    ends = derived(levels[0][0], ("ends of rows", points), lambda: row_ends(levels, points))
    leaf = lanes_of_leaf(levels, points)
    out = torch.empty(points, dtype=torch.long, device=coord.device)
    with on_device_of(coord):
        _finish[(len(ends),)](
            coord.contiguous(), order, on_device(ends, coord.device), out, points // clouds,
            SPACE=space, DEPTH=len(levels), LEAF=leaf, num_warps=sorting_warps(leaf << len(levels)),
        )  # fmt: skip
    return out


def lanes_of_leaf(levels: tuple[Level, ...], points: int) -> int:
    """The power of two that holds the points of every leaf."""

    def largest() -> int:
        starts, split = levels[-1]
        held = np.diff(np.append(starts, points))
        return int(np.where(split, held - held // 2, held).max())

    return power_of_2(derived(levels[-1][0], ("largest leaf", points), largest))


def row_ends(levels: tuple[Level, ...], points: int) -> np.ndarray:
    """(nodes of the first level, 2^depth + 1) int32, where each row of leaves below a node begins, and the last ends.

    A node that is not split hands all its points to its left child.
    """
    ends = np.append(levels[0][0], points)
    rows = np.stack([ends[:-1], ends[1:]], 1)
    for depth, (starts, split) in enumerate(levels):
        ends = np.append(starts, points)
        middle = starts + np.diff(ends) // 2  # so at the last level: nodes of two leaves
        if depth + 1 < len(levels):  # else the last child begins there
            below = levels[depth + 1][0]
            middle = below[np.searchsorted(below, ends[1:]) - 1]
        middle = np.where(split, middle, ends[1:])
        first, last = rows[:, :-1], rows[:, 1:]
        node = np.searchsorted(starts, first.ravel(), "right").reshape(first.shape) - 1
        middle = np.where(first < last, middle[node], last)
        rows = np.concatenate([np.stack([first, middle], 2).reshape(len(rows), -1), rows[:, -1:]], 1)
    return rows.astype(np.int32)
