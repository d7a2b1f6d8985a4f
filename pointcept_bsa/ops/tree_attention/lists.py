"""Which tokens the queries of each node see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TokenLists:
    """Lists of tokens, one for each node of consecutive queries.

    Attributes:
        queries: queries of each node.
        numbers: tokens that each node sees; none where the device alone knows.
        starts: (M + 1,) int32 first query of each node.
        lengths: (M,) int32 ``numbers`` on the device.
        tokens: (M, K) int32 the tokens; -1 behind the last.
        offsets, places: (T + 1,) and (E,) int32, the inverse: token t stands at
            ``places[offsets[t]:offsets[t + 1]]`` of ``tokens``, flat. Needed for gradients of tokens alone.
    """

    queries: tuple[int, ...]
    numbers: tuple[int, ...]
    starts: Tensor
    lengths: Tensor
    tokens: Tensor
    offsets: Tensor
    places: Tensor

    @classmethod
    def of_tiles(cls, rows: int, node: Tensor, tokens: Tensor, lengths: Tensor, total: int | None) -> TokenLists:
        """Of tiles of ``rows`` queries each, where the device says which list a tile has.

        Shapes depend on the numbers of tiles and tokens alone, so that the host waits for nothing.

        Args:
            node: (G,) the list of each tile.
            tokens, lengths: (M, K) and (M,) int32, the lists.
            total: T, for the inverse; None: there are no gradients.
        """
        own = tokens[node]
        starts = torch.arange(0, rows * (len(node) + 1), rows, dtype=torch.int32, device=node.device)
        offsets = places = starts
        if total is not None:
            sorted_tokens, order = own.flatten().sort(stable=True)
            offsets = torch.searchsorted(sorted_tokens, torch.arange(total + 1, dtype=torch.int32, device=node.device))
            offsets, places = offsets.int(), order.int()
        return cls(
            (rows,) * len(node), (), starts=starts, lengths=lengths[node], tokens=own, offsets=offsets, places=places
        )
