"""A part of the ball tree of each cloud, where the processes of a group share the clouds.

Every process comes with some of the points of each cloud, whichever; it leaves with a run of whole balls of the tree
that :class:`.BallTree` builds over all of them, the same to the last slot. No process ever has a whole cloud: the
upper levels are split where the points lie (:mod:`.shared_split`), then each point goes to the process of its part,
which sorts on by itself. The same at the same time for the rotated tree, of which a process then gets the pieces whose
points it has already, as far as that goes (:mod:`.part_assignment`). That costs a few small sums a level, and at most 8
bytes a number of coordinates and of places that move.

``n`` own points, ``S`` own slots, ``d`` dimensions, ``B`` clouds, ``R`` processes, ``T`` trees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import all_gather, numbers_of_all
from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree, occupy, rotation_matrix, sort_into_tree
from pointcept_bsa.geometry.exchange import Exchange, forth_together
from pointcept_bsa.geometry.host_tables import indices, integers, on_device
from pointcept_bsa.geometry.part_assignment import (
    assign,
    ends_of_pieces,
    pieces_of_cloud,
    rows_by_owner,
    runs_of,
)
from pointcept_bsa.geometry.part_layout import PartLayout, Parts
from pointcept_bsa.geometry.part_plan import PartPlan, Runs, pieces_of, plan_part
from pointcept_bsa.geometry.part_turn import Turn
from pointcept_bsa.geometry.shared_split import NAME, sort_within, split_together
from pointcept_bsa.geometry.token_part import multiple_of_parts, shared_level
from pointcept_bsa.geometry.token_tree import TokenSizes
from pointcept_bsa.geometry.tree_plan import num_slots


@dataclass(frozen=True, eq=False)
class PartTree(BallTree):
    """A part of a tree. ``index`` and ``inverse`` name rows as they arrive by ``arrival``.

    Attributes:
        arrival: from the order of the input to the process of the main tree's slot.
        turn: from the slots of the main tree to those of the rotated one, of which the process has other pieces, see
            :mod:`.part_assignment`; None without rotation. ``rotation`` there is none.
    """

    arrival: Exchange | None = None
    turn: Turn | None = None

    @classmethod
    def share(
        cls,
        coord: Tensor,
        lengths: tuple[int, ...],
        ball_size: int,
        block_size: int,
        group: dist.ProcessGroup,
        *,
        rotate: float = 0.0,
        unit: int | None = None,
        levels: TokenSizes | None = None,
    ) -> PartTree:
        """The own part of the tree of each cloud. Called by all processes of the group.

        Args:
            coord: (n, d) own points, cloud after cloud.
            lengths: own points of each cloud.
            ball_size, block_size, unit, rotate: see :meth:`.BallTree.build`.
            levels: sizes of the layers' tokens, where the parts have to fit those: see :mod:`.token_part`.

        Raises:
            InputError: a cloud too small for so many processes.
        """
        coord, rank = coord.detach(), dist.get_rank(group)
        everyone = tuple(map(tuple, numbers_of_all(integers(lengths, coord.device), coord.device, group)))
        whole = tuple(map(sum, zip(*everyone, strict=True)))
        unit, multiple = unit or ball_size, None
        if levels is not None:
            slots = tuple(num_slots(n, unit, "ball") for n in whole)
            shared = shared_level(slots, len(everyone), ball_size, levels)
            multiple = multiple_of_parts(shared, ball_size, levels)
        plan = plan_part(whole, unit, block_size, len(everyone), rank, multiple)
        turned_coord = [coord @ rotation_matrix(rotate, coord)] if rotate else []
        main, *turned = _Sorted.several([coord, *turned_coord], everyone, plan, group)
        # What float32 holds has come with the points.
        there = main.coord.to(coord.dtype) if coord.element_size() <= 4 else main.arrival.forth(coord)
        layout = BallLayout.build(there[main.index], plan.own.valid, plan.own.slots, ball_size, block_size)
        parts = Parts.of(group, plan.slots, block_size, layout, plan.full)
        tree = cls(PartLayout.of(layout, parts), main.index, main.inverse, arrival=main.arrival)
        return tree._with_rotated(_targets(main, turned[0], plan, parts), plan) if rotate else tree

    def _with_rotated(self, target: Tensor, plan: PartPlan) -> PartTree:
        """With the rotated tree, given where each own slot of the main tree is in it: see :func:`_targets`."""
        layout = self.part
        cuts, rows = _assigned(target, layout.shared, plan.multiple)
        parts = replace(layout.shared, cuts=cuts)
        turn = Turn.of(*parts.locate(target, 1), rows, parts.group)
        valid = layout.known_valid
        if layout.shared.filled is not None:
            valid = turn(on_device(valid, target.device)).cpu().numpy()
        rotated = BallLayout.build(turn(layout.coord), valid, layout.slots, layout.ball_size, layout.block_size)
        return replace(self, rotated=PartLayout.of(rotated, parts), turn=turn)

    def coarser(self, layout: BallLayout, rotate: float, unit: int) -> PartTree:
        """The own part of the tree over pooled slots, as :func:`.with_rotation` rotates it.

        ``index``, ``inverse`` and ``arrival`` are those of this tree. Called by all processes of the group.

        Args:
            layout: of the own pooled slots.
            rotate: degrees; 0 for one tree.
            unit: slots of the coarsest node that is whole; parts have a whole number of them.
        """
        fine, device = self.part.shared, layout.coord.device
        pooled = len(self.layout.coord) // len(layout.coord)
        slots = tuple(tuple(s // pooled for s in of_part) for of_part in fine.slots)
        everyone = slots
        if fine.filled is not None:  # where all finer slots have points, these have
            everyone = tuple(map(tuple, numbers_of_all(_counts(layout, True), device, fine.group)))
        parts = Parts.of(fine.group, slots, layout.block_size, layout, everyone == slots)
        tree = PartTree(PartLayout.of(layout, parts), self.index, self.inverse, arrival=self.arrival)
        if not rotate:
            return tree
        whole = tuple(map(sum, zip(*everyone, strict=True)))
        plan = plan_part(whole, unit, layout.block_size, len(slots), parts.rank)
        real = indices(layout.known_valid, True, device)
        coord = layout.coord[real] @ rotation_matrix(rotate, layout.coord)
        (turned,) = _Sorted.several([coord], everyone, plan, parts.group)
        target = torch.empty(len(layout.coord), dtype=torch.long, device=device)
        target[real] = turned.arrival.back(parts.own_slots(device)[turned.inverse])
        if plan.full:
            return tree._with_rotated(target, plan)
        target[indices(layout.known_valid, False, device)] = _empty_targets(layout, plan, parts)
        tree = tree._with_rotated(target, plan)
        rotated = tree.rotated
        assert isinstance(rotated, PartLayout)
        return replace(tree, rotated=PartLayout.of(rotated, rotated.shared.counted(rotated)))

    @property
    def is_part(self) -> bool:
        return True

    @property
    def part(self) -> PartLayout:
        """``layout``."""
        assert isinstance(self.layout, PartLayout)
        return self.layout

    def gather(self, x: Tensor) -> Tensor:
        assert self.arrival is not None
        return super().gather(self.arrival.forth(x))

    def scatter(self, x: Tensor) -> Tensor:
        assert self.arrival is not None
        return self.arrival.back(super().scatter(x))

    def permuted(self, x: Tensor, *, to_rotated: bool) -> Tensor:
        turn, back = self.way(to_rotated=to_rotated)
        return turn(x, back=back)

    def way(self, *, to_rotated: bool) -> tuple[Turn, bool]:
        """What :meth:`permuted` does: the turn, and whether it is the way back. Raises as that does."""
        if self.turn is None:
            raise ValueError("tree: got one without rotation, wanted PartTree.share(..., rotate=degrees)")
        return self.turn, not to_rotated


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Where the points of one tree lie.

    Attributes:
        arrival: to the process of the slot.
        coord: (S', d) float32 positions as they arrive.
        index: (S,) row, as they arrive, of each own slot.
        inverse: the own slot of each row that arrives.
    """

    arrival: Exchange
    coord: Tensor
    index: Tensor
    inverse: Tensor

    @classmethod
    @torch.no_grad()
    def several(
        cls, coords: list[Tensor], lengths: tuple[tuple[int, ...], ...], plan: PartPlan, group: dist.ProcessGroup
    ) -> list[_Sorted]:
        """Those of T trees over the same points, built at the same time.

        Args:
            coords: (n, d) own points, as each tree has them.
            lengths: points of each cloud in each process, (R, B).
        """
        trees, rank, device = len(coords), dist.get_rank(group), coords[0].device
        counts = tuple(map(sum, lengths))
        first = sum(counts[:rank])
        levels, owner = plan.side_by_side(trees)
        coord = torch.cat([each.float() for each in coords])
        root = _roots(lengths[rank] * trees, device)
        own = range(first, first + counts[rank])
        node, axes = split_together(_keyed(coord), root, own, sum(counts), levels, group)
        target = on_device(owner, device)[node].view(trees, counts[rank])
        arrivals = Exchange.several(target, group, NAME)
        coord, node = _sent(coord, node, arrivals)
        keyed = _keyed(coord)
        order = sort_within(keyed, node, axes)
        step = sort_into_tree(keyed[order].view(trees, -1, coord.shape[1]), plan.own)
        orders = order.view(trees, -1).gather(1, step) % step.shape[1]  # among the points of the tree
        every = zip(arrivals, coord.chunk(trees), orders, strict=True)
        return [cls(arrival, there, *occupy(order, plan.own)) for arrival, there, order in every]


def _keyed(coord: Tensor) -> Tensor:
    """With 0.0 for -0.0, which the integer keys tell apart."""
    return coord + 0.0


def _roots(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """The cloud of each point of clouds behind each other."""
    ends = integers(tuple(accumulate(lengths)), device)
    return torch.bucketize(torch.arange(sum(lengths), device=device), ends, right=True)


def _sent(coord: Tensor, node: Tensor, arrivals: tuple[Exchange, ...]) -> tuple[Tensor, Tensor]:
    """Positions (T n, d) and nodes of the points of each tree -> those that arrive, as one message of 4 bytes a
    number."""
    rows = torch.cat([coord.view(torch.int32), node.int().unsqueeze(1)], 1)
    came = forth_together(arrivals, rows.view(len(arrivals), len(arrivals[0].order), rows.shape[1]))
    return came[:, :-1].view(torch.float32), came[:, -1].long()


def _targets(main: _Sorted, turned: _Sorted, plan: PartPlan, parts: Parts) -> Tensor:
    """(S,) for each own slot of the main tree, where it lies in the rotated one, counted over the whole clouds. Empty
    slots stay where they are: both trees have them at the same places."""
    own = parts.own_slots(turned.inverse.device)
    target = main.arrival.forth(turned.arrival.back(own[turned.inverse]))[main.index]
    return target if plan.full else target.where(on_device(plan.own.valid, own.device), own)


def _empty_targets(layout: BallLayout, plan: PartPlan, parts: Parts) -> Tensor:
    """(E,) the same for the own empty slots of a level, which lie elsewhere in its rotated tree: the i-th of a cloud
    goes to the i-th there. A cloud has fewer than a unit."""
    device, clouds = layout.coord.device, len(layout.slots)
    free = parts.own_slots(device)[indices(plan.own.valid, False, device)]
    numbers = numbers_of_all([*_counts(layout, False), *_counts(layout, False, plan.own.valid)], device, parts.group)
    here, there = (tuple(tuple(row[half]) for row in numbers) for half in (slice(clouds), slice(clouds, None)))
    if not any(map(any, here)):
        return free
    every = all_gather(free, tuple(map(sum, there)), parts.group, NAME, pieces_of(there))  # cloud after cloud
    ends = list(accumulate((n for of_cloud in zip(*here, strict=True) for n in of_cloud), initial=0))
    return torch.cat([every[ends[i] : ends[i + 1]] for i in range(parts.rank, len(ends) - 1, len(here))])


def _counts(layout: BallLayout, value: bool, valid: np.ndarray | None = None) -> list[int]:
    """Slots of each cloud at which ``valid``, default that of the layout, has this value."""
    valid = layout.known_valid if valid is None else valid
    return [int((part == value).sum()) for part in np.split(valid, np.cumsum(layout.slots)[:-1])]


def _assigned(target: Tensor, parts: Parts, multiple: int) -> tuple[tuple[Runs, ...], np.ndarray]:
    """The rotated tree's runs of each cloud, with the fewest rows to move, and how many each process then has for each,
    (R, R). The host waits."""
    count, device = len(parts.slots), target.device
    pieces = [pieces_of_cloud(slots, count, multiple) for slots in parts.whole.slots]
    ends = on_device(ends_of_pieces(parts.whole.slots, count, multiple), device)
    piece = torch.bucketize(target, ends, right=True)
    rows = torch.zeros_like(ends).scatter_add_(0, piece, torch.ones_like(piece))
    of_all = np.asarray(numbers_of_all(rows, device, parts.group))
    clouds = np.split(of_all, np.cumsum([len(of_cloud) for of_cloud in pieces])[:-1], axis=1)
    owners = [assign(of_cloud, slots) for of_cloud, slots in zip(clouds, pieces, strict=True)]
    cuts = tuple(runs_of(owner, slots) for owner, slots in zip(owners, pieces, strict=True))
    return cuts, rows_by_owner(of_all, np.concatenate(owners))
