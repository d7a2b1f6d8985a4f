"""Which tokens the queries of each node see."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class TokenLists:
    """Lists of tokens, one for each node of consecutive queries.

    Attributes:
        queries: queries of each node.
        numbers: tokens that each node sees.
        starts: (M + 1,) int32 first query of each node.
        lengths: (M,) int32 ``numbers`` on the device.
        tokens: (M, K) int32 the tokens; -1 behind the last.
        offsets, places: (T + 1,) and (E,) int32, the inverse: token t stands at
            ``places[offsets[t]:offsets[t + 1]]`` of ``tokens``, flat.
    """

    queries: tuple[int, ...]
    numbers: tuple[int, ...]
    starts: Tensor
    lengths: Tensor
    tokens: Tensor
    offsets: Tensor
    places: Tensor
