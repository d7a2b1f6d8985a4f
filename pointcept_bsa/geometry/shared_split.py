"""The upper levels of ball trees whose points are spread over processes: exact medians, without moving a point.

At a node the points are ordered along its longest axis; points at the same place by the order of the level above, at
the root by that of the input. So a point's place is given by its coordinates along the axes of its ancestors, the
latest first, and its place in the input behind them. The point at which a node is split is found digit by digit: all
processes add up how many of their points lie before each value of the next digit. So each level takes a few sums of
as many numbers a node as a digit has values (:func:`.formulas.digit_bits`), however many points there are.

The coordinates of a level are sorted in each process, so that its points before a value are found without looking at
each, and the host need not know how many are left. It waits once a level, to hear whether other points lie where the
median does; only then the order of the level above decides, among those.

Several trees over the same points, as the main and the rotated one, are split at the same time: their points and nodes
follow each other tree by tree, as those of clouds do.

``N`` points of all trees, ``K`` nodes of a level, ``A`` axes of which each has a list, ``d`` space dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import reduce
from pointcept_bsa.distributed.formulas import COORDINATE_BITS, digit_bits
from pointcept_bsa.geometry.host_tables import HostTable, derived, host_table, indices, integers, on_device
from pointcept_bsa.geometry.part_plan import SharedLevel
from pointcept_bsa.geometry.split_keys import ordered_bits

NAME = "tree"  # of what is sent
LAST = torch.iinfo(torch.int64).max
BUCKETS = 256  # of the points of a node, for their extent: atomics on one place wait for each other


@torch.no_grad()
def split_together(
    coord: Tensor, node: Tensor, own: range, places: int, levels: tuple[SharedLevel, ...], group: dist.ProcessGroup
) -> tuple[Tensor, Tensor]:
    """The node below the shared levels in which each point lies.

    Args:
        coord: (N, d) float32 positions, none of them -0.0.
        node: (N,) the root of each: the cloud of its tree.
        own: places of the points of one tree in the input of all processes, cloud after cloud.
        places: how many there are.
        levels: of all trees.

    Returns:
        (N,) nodes, and (K, A) the axes along which the ancestors of each were split, the latest first; A <= d, and some
        may be there twice.
    """
    device = coord.device
    both = torch.cat([coord, -coord], 1)
    axes = node.new_empty(len(levels[0].split) if levels else 0, 0)
    for level in levels:
        here, number = _points_split(level, node)
        axis = _longest_axis(_rows(both, here), number, len(level.points_left), group)
        axes = _latest_first(axes, axis, level, coord.shape[1])
        columns = _columns(coord, node, axes, own, places, here)
        right = _right_of_median(columns, number, on_device(level.points_left, device), group)
        axes = axes[on_device(_parents(level), device)]
        node = on_device(level.first_child, device)[node]
        node = node + right if here is None else node.index_add_(0, here, right.long())
    return node, axes


def sort_within(coord: Tensor, node: Tensor, axes: Tensor) -> Tensor:
    """(N,) the order of points by node and, in a node, as the level above has left them.

    Args:
        coord: (N, d) float32 positions, none of them -0.0, in the order of the input.
        node: (N,) of each.
        axes: (K, A) as :func:`split_together` gives them.
    """
    columns = [_along(coord, axes[:, column][node]) for column in range(axes.shape[1])]
    if not columns:
        return node.argsort(stable=True)
    *earlier, latest = reversed(columns)
    order = None  # stable sorts, by what counts least first
    for values in earlier:
        order = values.argsort(stable=True) if order is None else order[values[order].argsort(stable=True)]
    keys = node << COORDINATE_BITS | latest
    return keys.argsort(stable=True) if order is None else order[keys[order].argsort(stable=True)]


def _points_split(level: SharedLevel, node: Tensor) -> tuple[Tensor | None, Tensor]:
    """The points (m,) whose node is split on this level, None for all; and which of those nodes it is (m,)."""
    if level.split.all():
        return None, node
    here = on_device(level.split, node.device)[node].nonzero().squeeze(1)  # the host waits
    number = derived(level.split, "number", lambda: np.cumsum(level.split) - 1)
    return here, on_device(number, node.device)[node[here]]


def _rows(x: Tensor, here: Tensor | None) -> Tensor:
    """Rows of x; all for None."""
    return x if here is None else x[here]


def _parents(level: SharedLevel) -> np.ndarray:
    """Of each node of the next level, the one that it is half of, or was."""
    table: np.ndarray = derived(
        level.split, "parents", lambda: np.repeat(np.arange(len(level.split)), 1 + level.split.astype(int))
    )
    return table


def _longest_axis(both: Tensor, node: Tensor, nodes: int, group: dist.ProcessGroup) -> Tensor:
    """(K,) the first of the longest axes of each node over the points of all processes, of which ``both`` (N, 2 d) has
    the coordinates and, to find all extents by one sum, their negatives."""
    bucket = (torch.arange(len(node), device=node.device) % BUCKETS).add_(node, alpha=BUCKETS)
    low = both.new_full((nodes * BUCKETS, both.shape[1]), math.inf)
    low.scatter_reduce_(0, bucket.unsqueeze(1).expand_as(both), both, "amin")
    low = reduce(low.view(nodes, BUCKETS, -1).amin(1), group, NAME, "MIN")
    return low.double().view(nodes, 2, -1).sum(1).argmin(1)  # -extent, to the last bit as ``split_keys`` has it


def _latest_first(axes: Tensor, axis: Tensor, level: SharedLevel, space: int) -> Tensor:
    """The lists of axes (K, A) with ``axis`` of each node that is split put before the others. A list with nothing to
    add gets its latest axis again, which tells no more points apart."""
    if len(axis) < len(axes):
        axis = axes[:, 0].index_copy(0, indices(level.split, True, axis.device), axis)
    axes = torch.cat([axis.unsqueeze(1), axes], 1)
    if axes.shape[1] <= space:
        return axes
    each = integers(tuple(range(space)), axes.device)
    first = (axes.unsqueeze(2) == each).long().argmax(1)  # where each axis is first; 0 if nowhere
    return axes.gather(1, first.sort(1).values)


def _along(coord: Tensor, axis: Tensor) -> Tensor:
    """The bits of coordinates (N, d) along an axis a point."""
    return ordered_bits(coord.gather(1, axis.unsqueeze(1)).squeeze(1))


def _columns(
    coord: Tensor, node: Tensor, axes: Tensor, own: range, places: int, here: Tensor | None
) -> Iterator[tuple[Tensor, int]]:
    """What the points ``here`` are compared by, one after the other: integers from 0 on, and their bits at most."""
    coord, node = _rows(coord, here), _rows(node, here)
    for column in range(axes.shape[1]):
        yield _along(coord, axes[:, column][node]), COORDINATE_BITS
    place = torch.arange(len(node), device=node.device) if here is None else here
    yield place % len(own) + own.start, places.bit_length()


def _right_of_median(
    columns: Iterator[tuple[Tensor, int]], node: Tensor, left: Tensor, group: dist.ProcessGroup
) -> Tensor:
    """(N,) whether a point is not among the ``left`` (K,) smallest ones of its node over all processes."""
    right, alike = None, None
    for values, bits in columns:
        digit = digit_bits(len(left))
        bits = digit * -(-bits // digit)
        keys = node << bits | values
        if alike is not None:  # all others come behind those that no column before has told from the median
            keys = keys.masked_fill(~alike, LAST)
        median, before, upto = _median(keys.sort().values, left.unsqueeze(1), bits, digit, group)
        median = median[node]
        behind = keys >= median
        right = behind if right is None else right & behind
        if torch.equal(before, upto):  # the host waits
            return right
        alike, left = keys == median, (upto - before).squeeze(1)
    raise AssertionError("two points have the same place in the input")


def _median(
    keys: Tensor, left: Tensor, bits: int, digit: int, group: dist.ProcessGroup
) -> tuple[Tensor, Tensor, Tensor]:
    """The key of the first point on the right in each node.

    Args:
        keys: (N,) rising: node 2^bits + value; own points.
        left: (K, 1) how many points of a node are on the left.
        bits, digit: of values, and of a digit.

    Returns:
        (K,) it; (K, 1) how many keys are below it in all processes, of all nodes, and how many points are to be left of
        it: more than those, if there are points alike on both sides.
    """
    first = integers(tuple(range(len(left))), keys.device).unsqueeze(1) << bits  # key that has the digits so far
    upto = None
    for shift in range(bits - digit, -1, -digit):
        each = first + on_device(_digits(digit, shift), keys.device)
        below = reduce(torch.searchsorted(keys, each), group, NAME)
        if upto is None:
            upto = below[:, :1] + left
        # As many points may be below: it is the last digit with no more.
        found = torch.searchsorted(below, upto, right=True) - 1
        first, before = each.gather(1, found), below.gather(1, found)
    assert upto is not None
    return first.squeeze(1), before, upto


@lru_cache(maxsize=32)
def _digits(digit: int, shift: int) -> HostTable:
    """All values of a digit, at its place."""
    return host_table(np.arange(1 << digit) << shift)
