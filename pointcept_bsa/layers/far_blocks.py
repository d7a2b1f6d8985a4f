"""Blocks of the whole clouds of which each process has those of its slots: the own ones, and those fetched from others.

``L`` blocks of the whole clouds, ``P`` own ones, ``G`` query groups, ``H`` heads, ``K`` blocks that each group and head
has chosen, ``F`` of others that some of them did.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pointcept_bsa.distributed.by_need import Requests
from pointcept_bsa.distributed.collectives import ComingNumbers, all_to_all
from pointcept_bsa.geometry.part_layout import Parts


@dataclass(frozen=True, eq=False)
class FarBlocks:
    """Where chosen blocks are to be found.

    Attributes:
        places: (G, H, K) place of each chosen one among the P own blocks and the F fetched ones behind them, -1 for
            none.
        names: (F,) which blocks of the whole clouds are fetched.
        requests: what has been asked for.
    """

    places: Tensor
    names: Tensor
    requests: Requests


class ChosenBlocks:
    """Blocks that are chosen, of which each process is just being told how many it is to send.

    Args:
        chosen: (G, H, K) blocks counted over the whole clouds, -1 for none.
        parts: who has which slots.
        name: for the count of bytes.
    """

    def __init__(self, chosen: Tensor, parts: Parts, name: str):
        self.chosen, self.parts, self.name = chosen, parts, name
        others, last, place = parts.of_others(parts.block_size, chosen.device)
        marked = torch.zeros(len(place), dtype=torch.int32, device=chosen.device)
        marked.index_fill_(0, chosen.flatten(), 1)  # -1 marks the last one
        self.upto = marked[others].cumsum(0, dtype=torch.int32)  # chosen ones so far among those of others
        self.coming = ComingNumbers(self.upto[last], parts.group)

    def wait(self) -> FarBlocks:
        """Ask for what lies in other parts. The host waits for the numbers. Called once, by all processes."""
        parts, device = self.parts, self.chosen.device
        others, _, place = parts.of_others(parts.block_size, device)
        wanted = [[end - start for start, end in pairwise((0, *ends))] for ends in self.coming.wait()]
        receive, send = tuple(wanted[parts.rank]), tuple(row[parts.rank] for row in wanted)
        count, own = sum(receive), parts.rows(parts.block_size)[parts.rank]
        nth = torch.arange(1, count + 1, dtype=torch.int32, device=device)
        names = others[torch.searchsorted(self.upto, nth)]
        asked = all_to_all(names, receive, send, parts.group, f"{self.name} (requests)")
        requests = Requests(place[asked], send, receive, parts.group, self.name)
        with_far = place.index_copy(0, names, torch.arange(own, own + count, device=device))
        return FarBlocks(with_far[self.chosen], names, requests)
