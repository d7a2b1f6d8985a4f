"""Slots of clouds of which other processes have slots, too.

``S`` own slots, ``L`` blocks of all clouds, ``l`` slots a block, ``B`` clouds, ``R`` processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import all_gather
from pointcept_bsa.geometry.ball_tree import BallLayout, WholeClouds, invert
from pointcept_bsa.geometry.host_tables import on_device
from pointcept_bsa.geometry.part_plan import Runs, own_runs
from pointcept_bsa.geometry.reorder import reorder


@lru_cache(maxsize=8)  # main and rotated trees of some levels and clouds
def _tables(rank: int, slots: tuple[tuple[int, ...], ...], block_size: int, cuts: tuple[Runs, ...]) -> dict[Any, Any]:
    """Room for the tables of :class:`Parts` like these."""
    return {}


class OthersRuns(NamedTuple):
    """Of L runs of slots, of which a process has P and others want some; for :class:`.ChosenBlocks`. A mark stands for
    none, then one for each run of a part, part after part, then one for each own run and part.

    Attributes:
        block: (1 + L,) which run the first marks are for, counted over the clouds; L, which is none, for the own ones.
        place: (L + 2,) of each run, which own one it is; P - 1 for those of others, -1 for the last two: none.
        mark: (L + 2,) its mark; 0 for own runs and the last two.
        ends: (2 R,) the last mark of each part, and of the own runs for each.
    """

    block: Tensor
    place: Tensor
    mark: Tensor
    ends: Tensor


@dataclass(frozen=True, eq=False)
class Parts:
    """Who has which slots of the clouds.

    Attributes:
        group: the processes.
        rank: this one.
        slots: of each cloud in each part, (R, B).
        block_size: l.
        cuts: of each cloud the runs of slots, as (part, slots) in the order of the cloud. A part has its slots cloud
            after cloud, the runs of a cloud in that order. All but the last of a cloud are whole balls.
        filled: (L,) points of each block of the clouds, cloud after cloud; None where all are full.
        kept: tables on the device. They depend on who has which slots alone: parts that are cut alike share them.
    """

    group: dist.ProcessGroup
    rank: int
    slots: tuple[tuple[int, ...], ...]
    block_size: int
    cuts: tuple[Runs, ...]
    filled: Tensor | None = None
    kept: dict[Any, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", _tables(self.rank, self.slots, self.block_size, self.cuts))

    @classmethod
    def of(
        cls,
        group: dist.ProcessGroup,
        slots: tuple[tuple[int, ...], ...],
        block_size: int,
        layout: BallLayout,
        full: bool,
    ) -> Parts:
        """One run of each cloud for each process, and the points of all blocks from those of the own layout, unless all
        slots of all processes are ``full``."""
        cuts = tuple(tuple(enumerate(of_cloud)) for of_cloud in zip(*slots, strict=True))
        parts = cls(group, dist.get_rank(group), slots, block_size, cuts)
        return parts if full else parts.counted(layout)

    def counted(self, layout: BallLayout) -> Parts:
        """With ``filled`` as the own layout and those of the others have it."""
        size, group = self.block_size, self.group
        own = on_device(layout.known_valid, layout.coord.device).view(-1, size).sum(1, dtype=torch.int32)
        filled = self.in_order(all_gather(own, self.rows(size), group, "tree"), size)
        return replace(self, filled=filled)

    def rows(self, size: int) -> tuple[int, ...]:
        """Runs of so many slots in each part; the last one of a cloud may be shorter."""
        return tuple(map(sum, self.runs(size)))

    def runs(self, size: int) -> tuple[tuple[int, ...], ...]:
        """The same by cloud, (R, B)."""
        return tuple(tuple(-(-s // size) for s in part) for part in self.slots)

    def pieces(self, size: int) -> list[tuple[int, int, int]]:
        """Of each of the ``cuts``, cloud after cloud: its part, and where it begins and ends among the runs of ``size``
        slots of all parts, one part after the other."""
        upto = list(accumulate(self.rows(size), initial=0))
        found = []
        for part, slots in chain.from_iterable(self.cuts):
            start = upto[part]
            upto[part] += -(-slots // size)
            found.append((part, start, upto[part]))
        return found

    def in_order(self, x: Tensor, size: int) -> Tensor:
        """Rows (n, ...) of runs of ``size`` slots, part after part -> cloud after cloud."""
        key = "order", size, x.device
        if key not in self.kept:
            moved = any(before[2] != after[1] for before, after in pairwise(self.pieces(size)))
            self.kept[key] = self._order(size, x.device) if moved else None
        order = self.kept[key]
        return x if order is None else reorder(x, *order)

    def _order(self, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Of each run (n,), cloud after cloud, where it is part after part; and the other way."""
        key = "both orders", size, device
        if key not in self.kept:
            there = consecutive([(start, end) for _, start, end in self.pieces(size)], device)
            self.kept[key] = there, invert(there)
        there, back = self.kept[key]
        return there, back

    def by_size(self, x: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Rows (n, ...) of runs of several sizes, part after part and in a part size after size -> those of each size,
        cloud after cloud. No gradient."""
        key = "by size", sizes, x.device
        if key not in self.kept:
            self.kept[key] = consecutive(self._pieces_by_size(sizes), x.device)
        return x[self.kept[key]].split([sum(self.rows(size)) for size in sizes])

    def _pieces_by_size(self, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
        rows = [self.rows(size) for size in sizes]
        first = list(accumulate((n for of_part in zip(*rows, strict=True) for n in of_part), initial=0))
        runs = []
        for i, (size, of_size) in enumerate(zip(sizes, rows, strict=True)):
            alone = list(accumulate(of_size, initial=0))  # where a part begins if there are those of this size alone
            for part, start, end in self.pieces(size):
                shift = first[part * len(sizes) + i] - alone[part]
                runs.append((start + shift, end + shift))
        return runs

    @cached_property
    def whole(self) -> WholeClouds:
        """The whole clouds."""
        slots = tuple(map(sum, zip(*self.slots, strict=True)))
        valid = None if self.filled is None else self.filled > 0
        return WholeClouds(slots, self.block_size, None if valid is None or bool(valid.all()) else valid)

    def locate(self, block: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Of runs of ``size`` slots, counted over the clouds: whose part each is in, and which one it is there."""
        ends, part, shift = self._pieces_on(size, block.device)
        piece = torch.bucketize(block.contiguous(), ends, right=True).clamp(max=len(ends) - 1)
        return part[piece], block + shift[piece]

    def _pieces_on(self, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Of each piece the run behind its last one, its part, and what makes of its runs those of the part."""
        key = "pieces", size, device
        if key not in self.kept:
            first, table, last = list(accumulate(self.rows(size), initial=0)), [], 0
            for part, start, end in self.pieces(size):
                table.append((last + end - start, part, start - first[part] - last))
                last += end - start
            self.kept[key] = torch.tensor(table, device=device).t().contiguous().unbind(0)
        ends, parts, shift = self.kept[key]
        return ends, parts, shift

    def of_others(self, size: int, device: torch.device) -> OthersRuns:
        """Tables of the runs of ``size`` slots that other parts have."""
        key = "others", size, device
        if key not in self.kept:
            rows = self.rows(size)
            ends = list(accumulate(rows, initial=0))  # of the parts
            start, end, every = ends[self.rank], ends[self.rank + 1], ends[-1]
            row, run = self._order(size, device)
            here = (row >= start) & (row < end)
            block = torch.cat([run.new_full((1,), every), run])
            block[1 + start : 1 + end] = every
            beyond = row.new_tensor([-1, -1])  # for runs that are none
            place = torch.cat([torch.where(here, row - start, end - start - 1), beyond])
            mark = torch.cat([row.add(1).masked_fill(here, 0), beyond + 1])
            theirs = accumulate([end - start] * len(rows), initial=every)
            table = torch.tensor([*ends[1:], *list(theirs)[1:]], device=device)
            self.kept[key] = OthersRuns(block, place, mark, table)
        found: OthersRuns = self.kept[key]
        return found

    def own_slots(self, device: torch.device) -> Tensor:
        """(S,) own slots, counted over the whole clouds of the batch."""
        key = "own", device
        if key not in self.kept:
            runs = [
                (first + start, first + end)
                for first, of_cloud in zip(accumulate(self.whole.slots, initial=0), self.own_runs, strict=False)
                for start, end in of_cloud
            ]
            self.kept[key] = consecutive(runs, device)
        own: Tensor = self.kept[key]
        return own

    @property
    def own_runs(self) -> list[list[tuple[int, int]]]:
        """First and last slot of the own runs of each cloud, counted inside it."""
        return [own_runs(of_cloud, self.rank) for of_cloud in self.cuts]


def consecutive(runs: list[tuple[int, int]], device: torch.device) -> Tensor:
    """The numbers of runs (first, end), one run behind the other, by as many kernels for a thousand runs as for one."""
    upto = list(accumulate(end - first for first, end in runs))
    shift = [end - so_far for (_, end), so_far in zip(runs, upto, strict=True)]
    table = torch.tensor([upto, shift], dtype=torch.long, device=device)
    every = torch.arange(upto[-1] if upto else 0, device=device)
    return every + table[1][torch.bucketize(every, table[0], right=True)]


@dataclass(frozen=True, eq=False)
class PartLayout(BallLayout):
    """The own slots of each cloud; ``parts`` says whose the others are."""

    parts: Parts | None = None

    @classmethod
    def of(cls, layout: BallLayout, parts: Parts) -> PartLayout:
        """A layout of own slots."""
        return cls(**{each.name: getattr(layout, each.name) for each in fields(BallLayout)}, parts=parts)

    @property
    def shared(self) -> Parts:
        """``parts``, which are always there."""
        assert self.parts is not None
        return self.parts

    @property
    def of_clouds(self) -> WholeClouds:
        return self.shared.whole

    def own_units(self, group_size: int, unit: int) -> Tensor:
        kept, key = self.shared.kept, ("own units", group_size, unit, self.coord.device)
        if key not in kept:
            units = self.shared.own_slots(self.coord.device)[::unit].div(unit, rounding_mode="floor")
            kept[key] = units.repeat_interleave(unit // group_size)
        own: Tensor = kept[key]
        return own

    @property
    def is_part(self) -> bool:
        return True
