"""A part of the ball tree of each cloud, where the processes of a group share the clouds.

Every process comes with some of the points of each cloud, whichever; it leaves with a run of whole balls of the tree
that :class:`.BallTree` builds over all of them, the same to the last slot. No process ever has a whole cloud: the
upper levels are split where the points lie (:mod:`.shared_split`), then each point goes to the process of its part,
which sorts on by itself. The same for the rotated tree, of which a process then gets the pieces whose points it has
already, as far as that goes (:mod:`.part_assignment`). Each tree costs a few small sums a level, and 8 bytes a number
of coordinates and of places that move.

``n`` own points, ``S`` own slots, ``d`` dimensions, ``B`` clouds, ``R`` processes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, chain

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import all_gather, numbers_of_all
from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree, occupy, rotation_matrix, sort_into_tree
from pointcept_bsa.geometry.exchange import Exchange, places_of
from pointcept_bsa.geometry.host_tables import indices, on_device
from pointcept_bsa.geometry.part_assignment import assign, pieces_of_cloud
from pointcept_bsa.geometry.part_layout import PartLayout, Parts
from pointcept_bsa.geometry.part_plan import PartPlan, Runs, pieces_of, plan_part
from pointcept_bsa.geometry.part_turn import Turn
from pointcept_bsa.geometry.shared_split import NAME, sort_within, split_together
from pointcept_bsa.geometry.token_part import multiple_of_parts, shared_level
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
        levels: tuple[int, int] | None = None,
    ) -> PartTree:
        """The own part of the tree of each cloud. Called by all processes of the group.

        Args:
            coord: (n, d) own points, cloud after cloud.
            lengths: own points of each cloud.
            ball_size, block_size, unit, rotate: see :meth:`.BallTree.build`.
            levels: near and fan of the layers' tokens, where the parts have to fit those: see :mod:`.token_part`.

        Raises:
            InputError: a cloud too small for so many processes.
        """
        coord, rank = coord.detach(), dist.get_rank(group)
        everyone = tuple(map(tuple, numbers_of_all(lengths, coord.device, group)))
        whole = tuple(map(sum, zip(*everyone, strict=True)))
        unit, multiple = unit or ball_size, None
        if levels is not None:
            slots = tuple(num_slots(n, unit, "ball") for n in whole)
            shared = shared_level(slots, len(everyone), ball_size, block_size, *levels)
            multiple = multiple_of_parts(shared, ball_size, *levels)
        plan = plan_part(whole, unit, block_size, len(everyone), rank, multiple)
        main = _Sorted.of(coord, everyone, plan, group)
        layout = BallLayout.build(
            main.arrival.forth(coord)[main.index], plan.own.valid, plan.own.slots, ball_size, block_size
        )
        parts = Parts.of(group, plan.slots, block_size, layout)
        tree = cls(PartLayout.of(layout, parts), main.index, main.inverse, arrival=main.arrival)
        if not rotate:
            return tree
        turned = _Sorted.of(coord @ rotation_matrix(rotate, coord), everyone, plan, group)
        return tree._with_rotated(_targets(main, turned, plan, parts), plan)

    def _with_rotated(self, target: Tensor, plan: PartPlan) -> PartTree:
        """With the rotated tree, given where each own slot of the main tree is in it: see :func:`_targets`."""
        layout = self.part
        parts = replace(layout.shared, cuts=_assigned(target, layout.shared, plan.multiple))
        turn = Turn.of(*parts.locate(target, 1), parts.group)
        valid = layout.known_valid
        if layout.shared.filled is not None:
            there = torch.tensor(np.asarray(valid), device=target.device)
            valid = turn(there).cpu().numpy()
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
        parts = Parts.of(fine.group, slots, layout.block_size, layout)
        tree = PartTree(PartLayout.of(layout, parts), self.index, self.inverse, arrival=self.arrival)
        if not rotate:
            return tree
        everyone = tuple(map(tuple, numbers_of_all(_counts(layout, True), device, parts.group)))
        whole = tuple(map(sum, zip(*everyone, strict=True)))
        plan = plan_part(whole, unit, layout.block_size, len(slots), parts.rank)
        real = indices(layout.known_valid, True, device)
        coord = layout.coord[real] @ rotation_matrix(rotate, layout.coord)
        turned = _Sorted.of(coord, everyone, plan, parts.group)
        target = torch.empty(len(layout.coord), dtype=torch.long, device=device)
        target[real] = turned.arrival.back(parts.own_slots(device)[turned.inverse])
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
        index: (S,) row, as they arrive, of each own slot.
        inverse: the own slot of each row that arrives.
    """

    arrival: Exchange
    index: Tensor
    inverse: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, coord: Tensor, lengths: tuple[tuple[int, ...], ...], plan: PartPlan, group: dist.ProcessGroup
    ) -> _Sorted:
        coord = coord.float() + 0.0  # turns -0.0 into 0.0, which the integer keys tell apart
        device = coord.device
        cloud, place = places_of(lengths, dist.get_rank(group), device)
        node, axes = split_together(coord, cloud, place, sum(map(sum, lengths)), plan, group)
        arrival = Exchange.to(on_device(plan.owner, device)[node], group, NAME)
        coord, node = arrival.forth(coord), arrival.forth(node)
        order = sort_within(coord, node, axes, len(plan.levels))
        order = order[sort_into_tree(coord[order], plan.own)]
        return cls(arrival, *occupy(order, plan.own))


def _targets(main: _Sorted, turned: _Sorted, plan: PartPlan, parts: Parts) -> Tensor:
    """(S,) for each own slot of the main tree, where it lies in the rotated one, counted over the whole clouds. Empty
    slots stay where they are: both trees have them at the same places."""
    own = parts.own_slots(turned.inverse.device)
    target = main.arrival.forth(turned.arrival.back(own[turned.inverse]))[main.index]
    return target.where(on_device(plan.own.valid, own.device), own)


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


def _assigned(target: Tensor, parts: Parts, multiple: int) -> tuple[Runs, ...]:
    """The rotated tree's runs of each cloud, with the fewest rows to move. The host waits."""
    pieces = [pieces_of_cloud(slots, len(parts.slots), multiple) for slots in parts.whole.slots]
    ends = torch.tensor(list(chain.from_iterable(pieces)), device=target.device).cumsum(0)
    piece = torch.bucketize(target, ends, right=True)
    rows = torch.zeros_like(ends).scatter_add_(0, piece, torch.ones_like(piece))
    of_all = np.asarray(numbers_of_all(rows, target.device, parts.group))
    clouds = np.split(of_all, np.cumsum([len(of_cloud) for of_cloud in pieces])[:-1], axis=1)
    return tuple(assign(of_cloud, slots) for of_cloud, slots in zip(clouds, pieces, strict=True))
