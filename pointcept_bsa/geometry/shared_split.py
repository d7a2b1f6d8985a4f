"""The upper levels of a ball tree whose points are spread over processes: exact medians, without moving a point.

At a node the points are ordered along its longest axis; points at the same place by the order of the level above, at
the root by that of the input. So a point's place is given by its coordinates along the axes of its ancestors, the
latest first, and its place in the input behind them. The point at which a node is split is found digit by digit: all
processes add up how many of their points have which digit, and those of the digit in which the median lies go on to the
next. So each level takes a few sums of 256 numbers a node over the processes, however many points there are.

``n`` own points, ``K`` nodes of a level, ``d`` space dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import reduce
from pointcept_bsa.geometry.host_tables import on_device
from pointcept_bsa.geometry.part_plan import PartPlan, SharedLevel
from pointcept_bsa.geometry.split_keys import ordered_bits

BITS = 8  # of a digit
NAME = "tree"  # of what is sent


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
    node = cloud
    axes = torch.full((len(plan.lengths), coord.shape[1]), -1, device=coord.device)
    bits = ordered_bits(coord)
    for level in plan.levels:
        split = on_device(level.split, coord.device)
        here = split[node].nonzero().squeeze(1)
        number = (split.cumsum(0) - 1)[node[here]]  # among the nodes that are split
        axis = _longest_axis(coord[here], number, int(level.split.sum()), group)
        axes = axes.clone()
        axes[split] = _latest_first(axes[split], axis)
        wanted = on_device(level.points_left, coord.device)[split]
        columns = _columns(bits[here], axes[split][number], place[here], places)
        left = _smallest(columns, number, wanted, group)
        node = _children(level, node, here, left)
        axes = axes.repeat_interleave(1 + split.long(), 0)
    return node, axes


def sort_within(coord: Tensor, node: Tensor, axes: Tensor) -> Tensor:
    """(n,) the order of points by node and, in a node, as the level above has left them.

    Args:
        coord: (n, d) float32 positions in the order of the input.
        node: (n,) of each.
        axes: (K, d) as :func:`split_together` gives them.
    """
    bits, order = ordered_bits(coord), torch.arange(len(coord), device=coord.device)
    # Stable sorts, by what counts least first.
    for column in reversed(range(axes.shape[1])):
        axis = axes[:, column][node[order]]
        if column == 0 or bool((axes[:, column] >= 0).any()):
            order = order[(node[order] << 32 | _along(bits[order], axis)).argsort(stable=True)]
    return order


def _longest_axis(coord: Tensor, node: Tensor, nodes: int, group: dist.ProcessGroup) -> Tensor:
    """(K,) the first of the longest axes of each node over the points of all processes."""
    where = node.unsqueeze(1).expand_as(coord)
    low = coord.new_full((2, nodes, coord.shape[1]), math.inf)  # of coord and -coord: one reduction for both
    low[0].scatter_reduce_(0, where, coord, "amin")
    low[1].scatter_reduce_(0, where, -coord, "amin")
    reduce(low, group, NAME, "MIN")
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
    """What points are compared by, one after the other: (n,) integers from 0 on, and how many bits they have."""
    for column in range(axes.shape[1]):
        yield _along(bits, axes[:, column]), 32
    yield place, max(1, places.bit_length())


def _smallest(columns: Iterator[tuple[Tensor, int]], node: Tensor, wanted: Tensor, group: dist.ProcessGroup) -> Tensor:
    """(n,) whether a point is among the ``wanted`` (K,) smallest ones of its node over all processes."""
    left = torch.zeros(len(node), dtype=torch.bool, device=node.device)
    rest = torch.arange(len(node), device=node.device)  # points of which it is not known
    for values, bits in columns:
        for shift in range(-(-bits // BITS) * BITS - BITS, -1, -BITS):
            digit = values[rest] >> shift & (1 << BITS) - 1
            counts = torch.zeros(len(wanted) << BITS, dtype=torch.long, device=node.device)
            counts.scatter_add_(0, (node[rest] << BITS) + digit, torch.ones_like(digit))
            counts = reduce(counts, group, NAME).view(len(wanted), -1)
            upto = counts.cumsum(1)
            # The digit of the first point on the right: as many as are wanted are smaller than it.
            median = (upto <= wanted.unsqueeze(1)).sum(1)
            here = median.unsqueeze(1)
            wanted = wanted - (upto - counts).gather(1, here).squeeze(1)
            own = median[node[rest]]
            left[rest[digit < own]] = True
            rest = rest[digit == own]
        if int(counts.gather(1, here).max()) == 1:  # that one is the first on the right
            break
    return left


def _children(level: SharedLevel, node: Tensor, here: Tensor, left: Tensor) -> Tensor:
    child = on_device(level.first_child, node.device)[node]
    child[here] += (~left).long()
    return child
