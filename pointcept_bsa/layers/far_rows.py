"""Rows of tables of which each process has the part of its slots: the own ones, and those fetched from others.

A table has a row for each head and each run of slots (a block, a token); ``P`` own runs, ``G`` query groups, ``H``
heads, ``K`` runs that each group and head has chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pointcept_bsa.distributed.by_need import Requests
from pointcept_bsa.geometry.part_layout import Parts


@dataclass(frozen=True, eq=False)
class FarRows:
    """Where chosen rows are to be found.

    Attributes:
        chosen: (G, H, K) runs counted over the whole clouds, -1 for none.
        local: (G, H, K) the same counted inside the part that has them.
        own: P.
        far: places of those of others in ``chosen``, flat; ``found`` says which of the fetched rows each is.
        heads, names: (n,) head and run, counted over the whole clouds, of each fetched row.
        requests: what has been asked for.
    """

    chosen: Tensor
    local: Tensor
    own: int
    far: Tensor
    found: Tensor
    heads: Tensor
    names: Tensor
    requests: Requests

    @classmethod
    def of(cls, chosen: Tensor, size: int, parts: Parts, name: str) -> FarRows:
        """Ask for what lies in other parts. The host waits.

        Args:
            chosen: (G, H, K) runs.
            size: slots of a run.
            parts: who has which slots.
            name: for the count of bytes.
        """
        heads, device, runs = chosen.shape[1], chosen.device, parts.rows(size)
        rows = [heads * n for n in runs]
        whose, local = parts.locate(chosen, size)
        head = torch.arange(heads, device=device).view(-1, 1)
        each, first = parts.rows_on(size, device)
        far = ((chosen >= 0) & (whose != parts.rank)).flatten().nonzero().squeeze(1)
        wanted, found = (heads * first[whose] + head * each[whose] + local).flatten()[far].unique(return_inverse=True)
        names, of_heads = (
            torch.empty_like(wanted).index_copy_(0, found, x.expand_as(chosen).flatten()[far]) for x in (chosen, head)
        )
        requests = Requests.of(wanted, rows, parts.group, name)
        return cls(chosen, local, runs[parts.rank], far, found, of_heads, names, requests)

    def in_heads(self, kinds: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Put the fetched rows behind the own runs, head beside head.

        Two heads have rows of the same kind at the same place, or one of them has none there.

        Args:
            kinds: (n,) of each fetched row, integers below ``number``.

        Returns:
            The place of each chosen one (G, H, K) in P own runs and F more behind them, -1 for none; the place of each
            fetched row (n,) among these F; and their kinds (F,).
        """
        heads, device = self.chosen.shape[1], self.chosen.device
        sort = kinds * heads + self.heads
        order = sort.argsort(stable=True)
        counts = sort.new_zeros(number * heads).scatter_add_(0, sort, torch.ones_like(sort))
        widths = counts.view(number, heads).amax(1)
        ends = widths.cumsum(0)
        rank = torch.arange(len(sort), device=device) - (counts.cumsum(0) - counts)[sort[order]]
        place = torch.empty_like(sort).index_copy_(0, order, rank + (ends - widths)[kinds[order]])
        behind = torch.arange(number, device=device).repeat_interleave(widths)
        return self._with_far(self.local, self.own + place[self.found]), place, behind

    def _with_far(self, places: Tensor, far: Tensor) -> Tensor:
        return places.flatten().index_copy(0, self.far, far).view_as(self.chosen).masked_fill(self.chosen < 0, -1)
