"""Slots of clouds of which other processes have slots, too.

``S`` own slots, ``L`` blocks of all clouds, ``l`` slots a block, ``B`` clouds, ``R`` processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import all_gather, numbers_of_all
from pointcept_bsa.geometry.ball_tree import BallLayout, WholeClouds
from pointcept_bsa.geometry.part_plan import pieces_of


@dataclass(frozen=True, eq=False)
class Parts:
    """Who has which slots of the clouds.

    Attributes:
        group: the processes.
        rank: this one.
        slots: of each cloud in each part, (R, B).
        block_size: l.
        filled: (L,) points of each block of the clouds, cloud after cloud; None where all are full.
        kept: tables on the device.
    """

    group: dist.ProcessGroup
    rank: int
    slots: tuple[tuple[int, ...], ...]
    block_size: int
    filled: Tensor | None = None
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, group: dist.ProcessGroup, slots: tuple[tuple[int, ...], ...], block_size: int, layout: BallLayout
    ) -> Parts:
        """The parts, and the points of all blocks from those of the own layout."""
        parts = cls(group, dist.get_rank(group), slots, block_size)
        full = bool(layout.known_valid.all())
        if all(others for (others,) in numbers_of_all([full], layout.coord.device, group)):
            return parts
        valid = layout.coord.new_ones(len(layout.coord), dtype=torch.bool) if layout.valid is None else layout.valid
        own = valid.view(-1, block_size).sum(1, dtype=torch.int32)
        filled = all_gather(own, parts.rows(block_size), group, "tree", parts.pieces(block_size))
        return cls(group, parts.rank, slots, block_size, filled)

    def rows(self, size: int) -> tuple[int, ...]:
        """Runs of so many slots in each part; the last one of a cloud may be shorter."""
        return tuple(map(sum, self.runs(size)))

    def runs(self, size: int) -> tuple[tuple[int, ...], ...]:
        """The same by cloud, (R, B)."""
        return tuple(tuple(-(-s // size) for s in part) for part in self.slots)

    def pieces(self, size: int) -> list[tuple[int, int]]:
        """Where the runs of each cloud lie among those of all parts, see :func:`.pieces_of`."""
        return pieces_of(self.runs(size))

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
        if ("pieces", size) not in self.kept:
            runs, table, last = self.pieces(size), [], 0
            first = list(accumulate(self.rows(size), initial=0))
            for number, (start, end) in enumerate(runs):
                part = number % len(self.slots)
                table.append((last + end - start, part, start - first[part] - last))
                last += end - start
            self.kept["pieces", size] = torch.tensor(table, device=device).t().contiguous().unbind(0)
        ends, parts, shift = self.kept["pieces", size]
        return ends, parts, shift

    def rows_on(self, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Runs of ``size`` slots in each part, and in those before it, (R,) each."""
        if ("rows", size) not in self.kept:
            rows = torch.tensor(self.rows(size), device=device)
            self.kept["rows", size] = rows, rows.cumsum(0) - rows
        rows, before = self.kept["rows", size]
        return rows, before

    @property
    def first_slots(self) -> list[int]:
        """The first own slot of each cloud, counted over the whole clouds of the batch."""
        clouds = accumulate(self.whole.slots, initial=0)
        before = (sum(part[cloud] for part in self.slots[: self.rank]) for cloud in range(len(self.slots[0])))
        return [first + own for first, own in zip(clouds, before, strict=False)]


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
        first = self.shared.first_slots
        units = [torch.arange(s, s + n, unit, device=self.coord.device) for s, n in zip(first, self.slots, strict=True)]
        return torch.cat(units).div(unit, rounding_mode="floor").repeat_interleave(unit // group_size)

    @property
    def is_part(self) -> bool:
        return True
