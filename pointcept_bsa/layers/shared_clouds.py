"""What the layers need of the whole clouds, where this process may have but a part of them.

``S`` own slots, ``L`` blocks of the whole clouds, ``l`` slots a block, ``G`` query groups, each of which chooses ``K``
blocks, ``F`` blocks of other processes, ``H`` heads of queries, ``Hkv`` of keys and values, ``D`` channels a head,
``C`` of all heads, ``N`` points, ``B`` clouds, ``R`` processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import Gathering, all_gather, numbers_of_all
from pointcept_bsa.distributed.mesh import context_group
from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.geometry.part_layout import PartLayout
from pointcept_bsa.geometry.part_plan import pieces_of
from pointcept_bsa.layers.far_blocks import ChosenBlocks
from pointcept_bsa.layers.token_levels import TokenLevels, Tokens
from pointcept_bsa.layers.token_parts import TokensOfClouds
from pointcept_bsa.ops.selected_attention import selected_attention


class CoarseKeys:
    """Keys and values (own blocks, Hkv, D) of blocks, or of tokens of several ``levels`` above them, for the queries of
    all processes that share the clouds. They are on their way when this is made.

    Attributes:
        levels: None, too, where no cloud is large enough to have them.
    """

    def __init__(self, k: Tensor, v: Tensor, layout: BallLayout, levels: TokenLevels | None = None):
        if levels is not None and not levels.sizes.divide(layout.of_clouds.slots):
            k, levels = levels.unmerged(k), None
        self.k, self.v, self.layout, self.levels = k, v, layout, levels
        self.coming: Gathering | TokensOfClouds | None = None
        if isinstance(layout, PartLayout):
            parts, size = layout.shared, layout.block_size
            if levels is not None:
                self.coming = TokensOfClouds(levels, k, v, layout)
            else:
                both = torch.stack([k, v], 1)
                self.coming = Gathering(both, parts.rows(size), parts.group, "coarse")

    def wait(self) -> tuple[Tensor, Tensor, Tokens | None]:
        """Those of all blocks of the whole clouds (L, Hkv, D); with levels the own ones, and the tokens."""
        if self.coming is None:
            return self.k, self.v, None if self.levels is None else self.levels(self.k, self.v, self.layout)
        if isinstance(self.coming, TokensOfClouds):
            return self.k, self.v, self.coming.wait()
        assert isinstance(self.layout, PartLayout)
        k, v = self.layout.shared.in_order(self.coming.wait(), self.layout.block_size).unbind(1)
        return k, v, None


def begin_selection(chosen: Tensor, layout: BallLayout) -> Tensor | ChosenBlocks:
    """What :func:`attend_selected` takes, of blocks (G, Hkv, K): the others are being told how many are wanted."""
    return ChosenBlocks(chosen, layout.shared, "selected") if isinstance(layout, PartLayout) else chosen


def attend_selected(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor | ChosenBlocks, layout: BallLayout) -> Tensor:
    """Attention of the own queries (S, H, D) to the chosen ones (G, Hkv, K) of the L blocks, -1 for none: (S, H, D).

    Blocks of other processes are fetched from them, and stand behind the own ones.
    """
    if isinstance(chosen, Tensor):
        chosen = begin_selection(chosen, layout)
    if isinstance(chosen, Tensor):
        return selected_attention(q, k, v, chosen, layout.block_size, valid=layout.valid)
    size, filled, far = layout.block_size, chosen.parts.filled, chosen.wait()
    k, v = (x.flatten(0, 1) for x in far.requests.extended(*(x.unflatten(0, (-1, size)) for x in (k, v))))
    valid = None
    if filled is not None:
        own = layout.coord.new_ones(len(q), dtype=torch.bool) if layout.valid is None else layout.valid
        valid = torch.cat([own, (torch.arange(size, device=q.device) < filled[far.names].unsqueeze(1)).flatten()])
    out = selected_attention(q, k, v, far.places, size, valid=valid)
    return out if layout.valid is None else out * layout.valid.view(-1, 1, 1)


@dataclass(frozen=True)
class SharedPoints:
    """Clouds of whose points each process has some, for attention to all points.

    Attributes:
        group: the processes.
        lengths: points of each cloud in each part, (R, B).
    """

    group: dist.ProcessGroup
    lengths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> SharedPoints | None:
        """From the own points of each cloud (B,); None where the clouds are not shared. The host waits."""
        group = context_group()
        if group is None:
            return None
        return cls(group, tuple(map(tuple, numbers_of_all(lengths, device, group))))

    @property
    def whole(self) -> tuple[int, ...]:
        """Points of each cloud."""
        return tuple(map(sum, zip(*self.lengths, strict=True)))

    def keys_values(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Own ones (own points, H, D) -> those of all points of the whole clouds (N, H, D), cloud after cloud.

        Each process holds them all while it attends, and for the backward pass: 2 C numbers a point and layer. Their
        gradients are reduce-scattered.
        """
        rows = tuple(map(sum, self.lengths))
        both = all_gather(torch.stack([k, v], 1), rows, self.group, "keys", pieces_of(self.lengths))
        k, v = both.unbind(1)
        return k, v
