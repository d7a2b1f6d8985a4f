"""Which part of the tree of each cloud a process has, where several share the clouds.

The tree is the one of :func:`.plan_tree` over the whole clouds. Its slots are cut at balls (or coarser units) into
``R`` parts as equal as that allows. A node that a cut passes through is split among all processes
(:mod:`.shared_split`), the others belong to one process, which goes on alone. Nothing here is as long as a cloud:
a process knows the nodes above the cuts, and all below its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.host_tables import derived, host_table
from pointcept_bsa.geometry.tree_plan import Nodes, TreePlan, grow, num_slots

Runs = tuple[tuple[int, int], ...]  # of slots of a cloud: (part, slots), in their order


@dataclass(frozen=True, eq=False)
class SharedLevel:
    """A level of nodes that no process has alone.

    Attributes:
        split: whether a node is split here; the others go on as they are.
        points_left: (K,) points of the left half of each node that is split.
        first_child: its first child, or itself, among the nodes of the next level.
    """

    split: np.ndarray
    points_left: np.ndarray
    first_child: np.ndarray

    def of_trees(self, trees: int) -> SharedLevel:
        """That of several trees, whose nodes follow each other tree by tree."""
        children = len(self.split) + int(self.split.sum())
        first = np.arange(trees)[:, None] * children + self.first_child
        tiled = (np.tile(np.asarray(column), trees) for column in (self.split, self.points_left))
        return SharedLevel(*map(host_table, (*tiled, first.ravel())))


@dataclass(frozen=True, eq=False)
class PartPlan:
    """Who has which part.

    Attributes:
        lengths: points of each whole cloud.
        slots: slots of each cloud in each part, (R, B).
        levels: what is split together, from the roots (one a cloud) down.
        owner: the part of each node below these levels.
        own: what is left for this process: a plan over its own points and slots.
        multiple: slots of which parts are whole numbers.
    """

    lengths: tuple[int, ...]
    slots: tuple[tuple[int, ...], ...]
    levels: tuple[SharedLevel, ...]
    owner: np.ndarray
    own: TreePlan
    multiple: int

    @property
    def full(self) -> bool:
        """Whether every slot has a point, in all parts."""
        return sum(self.lengths) == sum(map(sum, self.slots))

    def side_by_side(self, trees: int) -> tuple[tuple[SharedLevel, ...], np.ndarray]:
        """``levels`` and ``owner`` of several trees of this shape, whose nodes follow each other tree by tree."""
        tables: tuple[tuple[SharedLevel, ...], np.ndarray] = derived(
            self.owner,
            ("of trees", trees),
            lambda: (tuple(each.of_trees(trees) for each in self.levels), host_table(np.tile(self.owner, trees))),
        )
        return tables


@lru_cache(maxsize=16)
def plan_part(
    lengths: tuple[int, ...], unit: int, leaf: int, parts: int, rank: int, multiple: int | None = None
) -> PartPlan:
    """The plan of part ``rank`` of ``parts``.

    Args:
        lengths: points of each whole cloud.
        unit, leaf: see :func:`.plan_tree`.
        multiple: slots of which every part but the last begins at a whole number; default ``unit``, and a multiple of
            it.

    Raises:
        InputError: a cloud that has less than such a multiple for each part.
    """
    multiple = multiple or unit
    slots = tuple(num_slots(n, unit, "ball") for n in lengths)
    cuts = [_cuts(total, parts, multiple, length) for total, length in zip(slots, lengths, strict=True)]
    first = np.cumsum([0, *slots])
    levels, nodes = _shared_levels(lengths, slots, cuts, unit, leaf)
    cloud = np.searchsorted(first, nodes.slot, "right") - 1
    own_slots = tuple(tuple(c[r + 1] - c[r] for c in cuts) for r in range(parts))
    starts = np.asarray(cuts)[cloud] + first[cloud][:, None]  # (nodes, R + 1)
    owner = (starts[:, :-1] <= nodes.slot[:, None]).sum(1) - 1
    mine = owner == rank
    points = np.bincount(cloud[mine], nodes.points[mine], len(lengths)).astype(np.int64)
    roots = Nodes.of(nodes.points[mine], nodes.leaves[mine], leaf)
    own = grow(roots, tuple(points.tolist()), own_slots[rank], unit, leaf)
    return PartPlan(lengths, own_slots, levels, host_table(owner), own, multiple)


def nodes_split_together(
    lengths: tuple[int, ...], unit: int, leaf: int, parts: int, multiple: int, trees: int
) -> list[int]:
    """Nodes of each level that no process has alone, for so many trees; arguments as of :func:`plan_part`."""
    slots = tuple(num_slots(n, unit, "ball") for n in lengths)
    levels, _ = _shared_levels(lengths, slots, [cuts_of(total, parts, multiple) for total in slots], unit, leaf)
    return [trees * len(level.points_left) for level in levels]


def _shared_levels(
    lengths: tuple[int, ...], slots: tuple[int, ...], cuts: list[list[int]], unit: int, leaf: int
) -> tuple[tuple[SharedLevel, ...], Nodes]:
    """The levels above the ``cuts`` of each cloud, and the nodes below them."""
    first = np.cumsum(slots) - slots
    inner = np.concatenate([start + np.asarray(c[1:-1], np.int64) for start, c in zip(first, cuts, strict=True)])
    nodes = Nodes.of(np.asarray(lengths, np.int64), np.asarray(slots, np.int64) // leaf, leaf)
    levels: list[SharedLevel] = []
    while True:
        last = nodes.slot + nodes.leaves * leaf
        split = np.searchsorted(inner, nodes.slot, "right") < np.searchsorted(inner, last, "left")
        if not split.any():
            return tuple(levels), nodes
        children = nodes.split(unit, leaf)
        kept = np.stack([np.ones_like(split), split], 1).ravel()
        whole = np.repeat(~split, 2)
        tables = split, children.points[::2][split], np.cumsum(1 + split) - (1 + split)
        levels.append(SharedLevel(*map(host_table, tables)))
        unsplit = Nodes(*(np.repeat(column, 2) for column in nodes))
        nodes = Nodes(*(np.where(whole, a, b)[kept] for a, b in zip(unsplit, children, strict=True)))


def _cuts(slots: int, parts: int, multiple: int, length: int) -> list[int]:
    """As :func:`cuts_of`; raises InputError for too many parts."""
    if -(-slots // multiple) < parts:
        raise InputError(
            f"context_parallel: got a cloud of {length} points for {parts} processes, wanted at least {parts} times "
            f"{multiple} slots"
        )
    return cuts_of(slots, parts, multiple)


def cuts_of(slots: int, parts: int, multiple: int) -> list[int]:
    """First slot of each part of a cloud, and the number of all slots."""
    units = -(-slots // multiple)
    return [*(-(-units * part // parts) * multiple for part in range(parts)), slots]


def own_runs(runs: Runs, part: int) -> list[tuple[int, int]]:
    """First and last slot of the runs of a part, counted inside the cloud."""
    ends = list(accumulate((slots for _, slots in runs), initial=0))
    return [run for run, (owner, _) in zip(pairwise(ends), runs, strict=True) if owner == part]


def pieces_of(rows: tuple[tuple[int, ...], ...]) -> list[tuple[int, int]]:
    """Of rows that lie part after part, and in a part cloud after cloud, the runs of cloud after cloud.

    Args:
        rows: of each cloud in each part, (R, B).
    """
    ends = list(accumulate((n for part in rows for n in part), initial=0))
    runs, clouds = list(pairwise(ends)), len(rows[0])
    return [runs[part * clouds + cloud] for cloud in range(clouds) for part in range(len(rows))]
