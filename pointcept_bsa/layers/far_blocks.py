"""Blocks of the whole clouds of which each process has those of its slots: the own ones, and those fetched from others.

``P`` own blocks, ``G`` query groups, ``H`` heads, ``K`` blocks that each group and head has chosen, ``F`` of others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pointcept_bsa.distributed.by_need import Requests
from pointcept_bsa.geometry.part_layout import Parts


@dataclass(frozen=True, eq=False)
class FarBlocks:
    """Where chosen blocks are to be found.

    Attributes:
        places: (G, H, K) place of each chosen one among the P own blocks and the F fetched ones behind them, -1 for
            none.
        names: (F,) which blocks of the whole clouds are fetched: those of other parts that some group and head chose.
        requests: what has been asked for.
    """

    places: Tensor
    names: Tensor
    requests: Requests

    @classmethod
    def of(cls, chosen: Tensor, parts: Parts, name: str) -> FarBlocks:
        """Ask for what lies in other parts. The host waits, for the number of places and that of blocks.

        Args:
            chosen: (G, H, K) blocks counted over the whole clouds, -1 for none.
            parts: who has which slots.
            name: for the count of bytes.
        """
        size, blocks = parts.block_size, parts.rows(parts.block_size)
        whose, local = parts.locate(chosen, size)
        far = ((chosen >= 0) & (whose != parts.rank)).flatten().nonzero().squeeze(1)
        _, first = parts.rows_on(size, chosen.device)
        wanted, found = (first[whose.flatten()[far]] + local.flatten()[far]).unique(return_inverse=True)
        names = torch.empty_like(wanted).index_copy_(0, found, chosen.flatten()[far])
        places = local.flatten().index_copy(0, far, blocks[parts.rank] + found).view_as(chosen)
        return cls(places.masked_fill(chosen < 0, -1), names, Requests.of(wanted, blocks, parts.group, name))
