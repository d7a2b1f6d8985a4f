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
        places: (H G, 1, K) row of each chosen one in a table of the H P own rows, those of the first head first, and
            the fetched ones behind them; -1 for none.
        names: the run that each fetched row is about, counted over the whole clouds.
        requests: what has been asked for.
    """

    places: Tensor
    names: Tensor
    requests: Requests

    @classmethod
    def of(cls, chosen: Tensor, size: int, parts: Parts, name: str) -> FarRows:
        """Ask for what lies in other parts. The host waits.

        Args:
            chosen: (G, H, K) runs counted over the whole clouds, -1 for none.
            size: slots of a run.
            parts: who has which slots.
            name: for the count of bytes.
        """
        heads, device, runs = chosen.shape[1], chosen.device, parts.rows(size)
        rows = [heads * n for n in runs]
        whose, local = parts.locate(chosen, size)
        head = torch.arange(heads, device=device).view(-1, 1)
        first, each = torch.tensor([[sum(rows[:r]), n] for r, n in enumerate(runs)], device=device).unbind(1)
        far = ((chosen >= 0) & (whose != parts.rank)).flatten().nonzero().squeeze(1)
        wanted, found = (first[whose] + head * each[whose] + local).flatten()[far].unique(return_inverse=True)
        names = torch.empty_like(wanted).index_copy_(0, found, chosen.flatten()[far])
        places = (head * runs[parts.rank] + local).flatten()
        places = places.index_copy(0, far, rows[parts.rank] + found).view_as(chosen).masked_fill(chosen < 0, -1)
        places = places.transpose(0, 1).flatten(0, 1).unsqueeze(1)
        return cls(places, names, Requests.of(wanted, rows, parts.group, name))

    def behind(self, own: Tensor) -> Tensor:
        """Own rows (H P, ...), and the fetched ones behind them."""
        return torch.cat([own, self.requests.fetch(own.flatten(1)).view(-1, *own.shape[1:])])
