"""Blocks of the whole clouds of which each process has those of its slots: the own ones, and those fetched from others.

Each process sends a mark for every block of the others, set where it wants the block. So all know at once what they
will get and what they have to give, and in which order: nothing is asked for a second time.

``L`` blocks of the whole clouds, ``P`` own ones, ``R`` processes, ``G`` query groups, ``H`` heads, ``K`` blocks that
each group and head has chosen, ``F`` of others that some of them did.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from pointcept_bsa.distributed.by_need import Requests
from pointcept_bsa.distributed.collectives import ToHost, begin_all_to_all
from pointcept_bsa.geometry.part_layout import Parts


@dataclass(frozen=True, eq=False)
class FarBlocks:
    """Where chosen blocks are to be found.

    Attributes:
        places: (G, H, K) place of each chosen one among the P own blocks and the F fetched ones behind them, -1 for
            none.
        requests: what others want of this process, and what it gets.
        chosen: of which they are.
    """

    places: Tensor
    requests: Requests
    chosen: ChosenBlocks

    @cached_property
    def names(self) -> Tensor:
        """(F,) which blocks of the whole clouds are fetched."""
        return self.chosen.names(sum(self.requests.receive))


class ChosenBlocks:
    """Blocks that are chosen, of which the processes are just telling each other.

    Args:
        chosen: (G, H, K) blocks counted over the whole clouds, -1 for none.
        parts: who has which slots.
        name: for the count of bytes; that of the marks is ``name (marks)``.
    """

    def __init__(self, chosen: Tensor, parts: Parts, name: str):
        self.parts, self.name = parts, name
        self.tables = tables = parts.of_others(parts.block_size, chosen.device)
        marked = torch.zeros(len(tables.place), dtype=torch.uint8, device=chosen.device)
        marked.index_fill_(0, chosen.flatten(), 1)  # -1 marks the last one
        marks = marked[tables.block]
        rows = parts.rows(parts.block_size)
        own, processes = rows[parts.rank], len(rows)
        came, work = begin_all_to_all(marks[1:], rows, (own,) * processes, parts.group, f"{name} (marks)")
        work.wait()
        # Marks so far: of the wanted blocks, process after process, then of the own ones that each process wants.
        self.upto = torch.cat([marks, came]).cumsum(0, dtype=torch.int32)
        self.coming = ToHost(self.upto[tables.ends])
        self.places = (tables.place + self.upto[tables.mark])[chosen]

    def wait(self) -> FarBlocks:
        """What goes where. The host waits for the numbers. Called once, by all processes."""
        ends = self.coming.wait()
        wanted = tuple(end - start for start, end in pairwise((0, *ends)))
        receive, send = wanted[: len(wanted) // 2], wanted[len(wanted) // 2 :]
        own = self.parts.rows(self.parts.block_size)[self.parts.rank]
        rows = (self.marked(sum(receive), sum(send)) - len(self.tables.block)).remainder(max(1, own))
        return FarBlocks(self.places, Requests(rows, send, receive, self.parts.group, self.name), self)

    def names(self, count: int) -> Tensor:
        """The first ``count`` of the wanted blocks, which are counted over the whole clouds."""
        return self.tables.block[self.marked(0, count)]

    def marked(self, before: int, count: int) -> Tensor:
        """Which marks are the ``count`` next ones behind the first ``before``: (count,)."""
        nth = torch.arange(before + 1, before + 1 + count, dtype=torch.int32, device=self.upto.device)
        return torch.searchsorted(self.upto, nth)
