"""The shape of a ball tree, which depends on the numbers of points alone.

Where a node is split and which slots its points will occupy is known before any coordinate is read. Keeping that
part on the host, in NumPy, leaves the device nothing but sorting: no data-dependent shape, no synchronisation.

Words: a *rank* is a place among the ``N`` real points of all clouds in tree order; a *slot* is a place in the padded
tree order, in which every cloud fills a whole number of units; a *leaf* is the node at which splitting stops.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import index as integer
from typing import NamedTuple, SupportsIndex

import numpy as np

from pointcept_bsa.geometry.host_tables import host_table

PADDING = ("ball", "power_of_two")


@dataclass(frozen=True, eq=False)
class TreePlan:
    """Static tables of the trees of a batch of clouds.

    Attributes:
        lengths: points of each cloud.
        slots: slots of each cloud.
        levels: for each level from the root down, the first rank of each (non-empty) node, and whether it is split
            there (a leaf of a shallower tree of the batch is not, and must keep its order).
        slot_of_rank: (N,) slot of each rank; inside a leaf, points come first.
        rank_of_slot: (S,) rank whose point each slot holds: its own, a copy, or in an empty slot the cloud's first.
        first_point: (N,) first point of the cloud of each rank.
        valid: (S,) True where a slot takes part in attention.
        primary: (S,) True where a slot is the one home of a point (differs from ``valid`` for duplicated points).
    """

    lengths: tuple[int, ...]
    slots: tuple[int, ...]
    levels: tuple[tuple[np.ndarray, np.ndarray], ...]
    slot_of_rank: np.ndarray
    rank_of_slot: np.ndarray
    first_point: np.ndarray
    valid: np.ndarray
    primary: np.ndarray

    @property
    def num_points(self) -> int:
        return sum(self.lengths)

    @property
    def num_slots(self) -> int:
        return sum(self.slots)


def as_lengths(lengths: Iterable[SupportsIndex], num_points: int) -> tuple[int, ...]:
    """``lengths`` as a tuple, from any sequence or tensor of integers.

    Raises:
        ValueError: what are no integers, a cloud without points, or another sum than ``num_points``.
    """
    try:
        given = tuple(integer(length) for length in lengths)
    except TypeError:
        raise ValueError(f"lengths: got {lengths!r}, wanted the number of points of each cloud") from None
    if not given or min(given) < 1:
        raise ValueError(f"lengths: got {given}, wanted at least one point in every cloud")
    if sum(given) != num_points:
        raise ValueError(f"lengths: got {given}, which are {sum(given)} points, wanted {num_points} as there are")
    return given


def num_slots(length: int, unit: int, pad: str) -> int:
    """Slots of a cloud of ``length`` points: the next multiple of ``unit``, or the next power of two."""
    if pad == "power_of_two":
        return max(unit, 1 << (length - 1).bit_length())
    return -(-length // unit) * unit


def leaves_left(leaves: np.ndarray, leaves_a_unit: int) -> np.ndarray:
    """Leaves in the left half of nodes of so many leaves: whole units, and below one unit half of them."""
    units = -(-leaves // leaves_a_unit)
    return np.where(leaves > leaves_a_unit, -(-units // 2) * leaves_a_unit, -(-leaves // 2))


@lru_cache(maxsize=16)
def plan_tree(lengths: tuple[int, ...], unit: int, leaf: int, pad: str = "ball") -> TreePlan:
    """Plan balanced trees over clouds of the given lengths.

    A node of ``b`` units is split into ``ceil(b/2)`` and ``floor(b/2)`` units, and its points in the same proportion
    (so at the median wherever ``b`` is even); below one unit the same is done by leaves. Hence a cloud is padded only
    to a multiple of ``unit``, the padding is spread evenly over the units, and no unit is empty.

    Args:
        lengths: points of each cloud, all at least 1.
        unit: slots of the coarsest node that must be whole (the ball size; a power of two times ``leaf``).
        leaf: slots of a leaf (the block size).
        pad: ``"ball"``: empty slots are masked. ``"power_of_two"``: a complete binary tree down to pairs, in which a
            leaf of a single point holds it twice (the convention of the published Erwin code).
    """
    if pad not in PADDING:
        raise ValueError(f"pad: got {pad!r}, wanted one of {PADDING}")
    if leaf < 1 or unit % leaf or (unit // leaf) & (unit // leaf - 1):
        raise ValueError(f"ball_size: got {unit} with block_size {leaf}, wanted block_size times a power of two")
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths: got {lengths}, wanted at least one point in every cloud")
    if pad == "power_of_two":
        if unit & (unit - 1):
            raise ValueError(f"ball_size: got {unit}, wanted a power of two with pad='power_of_two'")
        leaf = min(2, unit)
    slots = tuple(num_slots(n, unit, pad) for n in lengths)

    points = np.asarray(lengths, np.int64)
    leaves = np.asarray(slots, np.int64) // leaf
    return grow(Nodes.of(points, leaves, leaf), lengths, slots, unit, leaf, pad)


class Nodes(NamedTuple):
    """Nodes of a level, one behind the other.

    Attributes:
        points, leaves: of each node.
        rank, slot: the first ones of each node.
    """

    points: np.ndarray
    leaves: np.ndarray
    rank: np.ndarray
    slot: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, leaves: np.ndarray, leaf: int) -> Nodes:
        """Nodes that follow each other without a gap."""
        return cls(points, leaves, np.cumsum(points) - points, np.cumsum(leaves * leaf) - leaves * leaf)

    def split(self, unit: int, leaf: int) -> Nodes:
        """The left and the right child of each node, behind each other; those of no points and no leaves, too."""
        left = leaves_left(self.leaves, unit // leaf)
        points_left = self.points * left // self.leaves
        children = (
            np.stack([points_left, self.points - points_left], 1),
            np.stack([left, self.leaves - left], 1),
            np.stack([self.rank, self.rank + points_left], 1),
            np.stack([self.slot, self.slot + left * leaf], 1),
        )
        return Nodes(*(c.ravel() for c in children))

    def where(self, keep: np.ndarray) -> Nodes:
        """Some of the nodes."""
        return Nodes(*(column[keep] for column in self))


def grow(
    nodes: Nodes, lengths: tuple[int, ...], slots: tuple[int, ...], unit: int, leaf: int, pad: str = "ball"
) -> TreePlan:
    """The plan below ``nodes``, which hold all points and slots of clouds of these ``lengths`` and ``slots``."""
    levels = []
    while (nodes.leaves > 1).any():
        levels.append((nodes.rank, nodes.leaves > 1))
        nodes = nodes.split(unit, leaf)
        nodes = nodes.where(nodes.points > 0)

    points, slot = nodes.points, nodes.slot
    primary = np.zeros(sum(slots), bool)
    valid = np.zeros(sum(slots), bool)
    for i in range(leaf):
        primary[slot[points > i] + i] = True
        # A leaf of a complete binary tree is filled up with copies of its point.
        valid[slot[(points > i) | (pad == "power_of_two")] + i] = True
    first_point = np.cumsum(lengths) - lengths
    slot_of_rank = np.flatnonzero(primary)
    rank_of_slot = np.repeat(first_point, slots)
    rank_of_slot[slot_of_rank] = np.arange(sum(lengths))
    copies = np.flatnonzero(valid & ~primary)
    rank_of_slot[copies] = rank_of_slot[copies - 1]
    tables = slot_of_rank, rank_of_slot, np.repeat(first_point, lengths), valid, primary
    levels = [(host_table(starts), host_table(split)) for starts, split in levels]
    return TreePlan(lengths, slots, tuple(levels), *map(host_table, tables))
