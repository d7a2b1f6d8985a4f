"""The upper levels of a ball tree whose points are spread over processes: exact medians, without moving a point.

At a node the points are ordered along its longest axis; points at the same place by the order of the level above, at
the root by that of the input. So a point's place is given by its coordinates along the axes of its ancestors, the
latest first, and its place in the input behind them. The point at which a node is split is found digit by digit: all
processes add up how many of their points have which digit, and those of the digit in which the median lies go on to the
next. So each level takes a few sums of 256 numbers a node over the processes, however many points there are.

The coordinates of a level are sorted in each process, so that its points of a digit are counted without looking at
each, and the host need not know how many are left. It waits once a level, to hear whether other points lie where the
median does; only then the order of the level above decides, among those.

``n`` own points, ``K`` nodes of a level, ``d`` space dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import reduce
from pointcept_bsa.geometry.host_tables import derived, indices, on_device
from pointcept_bsa.geometry.part_plan import PartPlan, SharedLevel
from pointcept_bsa.geometry.split_keys import ordered_bits

BITS = 8  # of a digit
NAME = "tree"  # of what is sent
LAST = torch.iinfo(torch.int64).max
BUCKETS = 256  # of the points of a node, for their extent: atomics on one place wait for each other


@torch.no_grad()
def split_together(
    coord: Tensor, cloud: Tensor, place: Tensor, places: int, plan: PartPlan, group: dist.ProcessGroup
) -> tuple[Tensor, Tensor]:
    """The node below the shared levels in which each point lies.

    Args:
        coord: (n, d) float32 positions, none of them -0.0.
        cloud: (n,) whose point each is.
        place: (n,) its place in the input of all processes, rising.
        places: how many there are.

    Returns:
        (n,) nodes, and (K, d) the axes along which the ancestors of each were split, the latest first; -1 for none.
    """
    node, device = cloud, coord.device
    axes = torch.full((len(plan.lengths), coord.shape[1]), -1, device=device)
    bits = ordered_bits(coord)
    for level in plan.levels:
        split = indices(level.split, True, device)
        here, number = _points_split(level, node)
        axis = _longest_axis(coord[here], number, len(split), group)
        latest = _latest_first(axes[split], axis)
        columns = _columns(bits[here], latest[number], place[here], places)
        left = _smallest(columns, number, on_device(level.points_left, device)[split], group)
        child = on_device(level.first_child, device)[node]
        node = child.index_add_(0, here, (~left).long())
        axes = axes.index_copy(0, split, latest)[on_device(_parents(level), device)]
    return node, axes


def sort_within(coord: Tensor, node: Tensor, axes: Tensor, levels: int) -> Tensor:
    """(n,) the order of points by node and, in a node, as the level above has left them.

    Args:
        coord: (n, d) float32 positions in the order of the input.
        node: (n,) of each.
        axes: (K, d) as :func:`split_together` gives them.
        levels: how many it has split.
    """
    bits, order = ordered_bits(coord), torch.arange(len(coord), device=coord.device)
    # Stable sorts, by what counts least first. A node has at most as many axes as levels above it.
    for column in reversed(range(max(1, min(levels, axes.shape[1])))):
        axis = axes[:, column][node[order]]
        order = order[(node[order] << 32 | _along(bits[order], axis)).argsort(stable=True)]
    return order


def _points_split(level: SharedLevel, node: Tensor) -> tuple[Tensor, Tensor]:
    """The points (m,) whose node is split on this level, and which of those that are (m,)."""
    if level.split.all():
        return torch.arange(len(node), device=node.device), node
    here = on_device(level.split, node.device)[node].nonzero().squeeze(1)  # the host waits
    number = derived(level.split, "number", lambda: np.cumsum(level.split) - 1)
    return here, on_device(number, node.device)[node[here]]


def _parents(level: SharedLevel) -> np.ndarray:
    """Of each node of the next level, the one that it is half of, or was."""
    table: np.ndarray = derived(
        level.split, "parents", lambda: np.repeat(np.arange(len(level.split)), 1 + level.split.astype(int))
    )
    return table


def _longest_axis(coord: Tensor, node: Tensor, nodes: int, group: dist.ProcessGroup) -> Tensor:
    """(K,) the first of the longest axes of each node over the points of all processes."""
    bucket = node * BUCKETS + torch.arange(len(node), device=node.device) % BUCKETS
    where = bucket.unsqueeze(1).expand_as(coord)
    low = coord.new_full((2, nodes * BUCKETS, coord.shape[1]), math.inf)  # of coord and -coord: one sum for both
    low[0].scatter_reduce_(0, where, coord, "amin")
    low[1].scatter_reduce_(0, where, -coord, "amin")
    low = reduce(low.view(2, nodes, BUCKETS, -1).amin(2), group, NAME, "MIN")
    return (-low[1].double() - low[0].double()).argmax(1)  # as ``split_keys`` does, to the last bit


def _latest_first(axes: Tensor, axis: Tensor) -> Tensor:
    """The rows of axes (K, d) with ``axis`` (K,) put before the others."""
    others = axes.masked_fill(axes == axis.unsqueeze(1), -1)
    behind = (others < 0).long().argsort(dim=1, stable=True)
    return torch.cat([axis.unsqueeze(1), others.gather(1, behind)], 1)[:, : axes.shape[1]]


def _along(bits: Tensor, axis: Tensor) -> Tensor:
    """The bits (n, d) along an axis a point; 0 for -1."""
    return bits.gather(1, axis.clamp(min=0).unsqueeze(1)).squeeze(1).masked_fill(axis < 0, 0)


def _columns(bits: Tensor, axes: Tensor, place: Tensor, places: int) -> Iterator[tuple[Tensor, int]]:
    """What points are compared by, one after the other: (n,) integers from 0 on, and bits that hold them in whole
    digits."""
    for column in range(axes.shape[1]):
        yield _along(bits, axes[:, column]), 32
    yield place, BITS * max(1, -(-places.bit_length() // BITS))


def _smallest(columns: Iterator[tuple[Tensor, int]], node: Tensor, wanted: Tensor, group: dist.ProcessGroup) -> Tensor:
    """(n,) whether a point is among the ``wanted`` (K,) smallest ones of its node over all processes."""
    left, alike = (torch.full((len(node),), value, device=node.device) for value in (False, True))
    digits = torch.arange((1 << BITS) + 1, device=node.device)
    for values, bits in columns:
        # Of the points that no column before has told from the median; all others come behind them.
        keys = (node << bits | values).masked_fill(~alike, LAST)
        ordered = keys.sort().values
        median = torch.arange(len(wanted), device=node.device) << bits  # of the first point on the right, so far
        for shift in range(bits - BITS, -1, -BITS):
            ends = torch.searchsorted(ordered, median.unsqueeze(1) + (digits << shift))
            digit, wanted, count = _next_digit(ends.diff(dim=1), wanted, group)
            median = median + (digit << shift)
        left |= alike & (keys < median[node])
        alike = keys == median[node]
        if int(count.max()) == 1:  # that one is the first on the right
            break
    return left


def _next_digit(counts: Tensor, wanted: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, Tensor, Tensor]:
    """The next digit (K,) of the first point on the right, to the left of which ``wanted`` (K,) are to be.

    Args:
        counts: (K, 256) own points of each digit, among those that have its digits so far.

    Returns:
        it, how many are still wanted of those that have this digit, too, and how many these are in all processes.
    """
    counts = reduce(counts.contiguous(), group, NAME)
    upto = counts.cumsum(1)
    # As many as are wanted have smaller ones.
    digit = (upto <= wanted.unsqueeze(1)).sum(1, keepdim=True)
    alike = counts.gather(1, digit).squeeze(1)
    before = upto.gather(1, digit).squeeze(1) - alike
    return digit.squeeze(1), wanted - before, alike
