"""Slots of clouds of which other processes have slots, too.

``S`` own slots, ``L`` blocks of all clouds, ``l`` slots a block, ``B`` clouds, ``R`` processes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate

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
    """

    group: dist.ProcessGroup
    rank: int
    slots: tuple[tuple[int, ...], ...]
    block_size: int
    filled: Tensor | None = None

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
        runs, lengths = self.pieces(size), []
        parts, clouds = len(self.slots), len(self.slots[0])
        ends = list(accumulate(end - start for start, end in runs))
        first = list(accumulate(self.rows(size), initial=0))
        for i, ((start, end), last) in enumerate(zip(runs, ends, strict=True)):
            part = i % parts
            lengths.append((last, part, start - first[part] - (last - (end - start))))
        table = torch.tensor(lengths, device=block.device)
        piece = torch.bucketize(block, table[:, 0].contiguous(), right=True).clamp(max=parts * clouds - 1)
        return table[piece, 1], block + table[piece, 2]

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
        return cls(**{field.name: getattr(layout, field.name) for field in fields(BallLayout)}, parts=parts)

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
