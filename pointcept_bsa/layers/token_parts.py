"""Coarse tokens of several levels over clouds of which this process has a part: see :mod:`.token_part`.

The own tokens of level J go to everybody, those below are seen at home alone. For the descent to the blocks with the
largest scores their keys go to everybody, too: C (1 + 1/f + ...) numbers a block, without a way back for gradients.
Children fetched by need would be fewer bytes from some hundred processes on, but three more waits of the host a layer.

``G`` query groups, ``H`` heads, ``D`` channels a head, ``f`` the fan, ``T_j`` tokens of level j of the whole clouds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.distributed.collectives import Beside, Gathering
from pointcept_bsa.geometry.host_tables import on_device
from pointcept_bsa.geometry.part_layout import PartLayout
from pointcept_bsa.geometry.token_part import TokenPart, plan_token_part, shared_level
from pointcept_bsa.layers.token_levels import LevelCounts, TokenLevels, Tokens, kept_counts, weights


@dataclass(frozen=True, eq=False)
class PartTokens(Tokens):
    """Own tokens of the levels below J, all of the others. ``counts.empty`` is of all tokens on every level.

    Attributes:
        keys: (T_j, H, D) of all tokens of the whole clouds by level, for the descent; they get no gradient.
    """

    plan: TokenPart
    layout: PartLayout
    keys: tuple[Tensor, ...]

    @property
    def compared(self) -> tuple[Tensor, ...]:
        return self.keys


class TokensOfClouds:
    """Tokens of the own blocks, of which those of level J are on their way to everybody."""

    def __init__(self, levels: TokenLevels, k: Tensor, v: Tensor, layout: PartLayout):
        parts, sizes = layout.shared, levels.sizes
        shared = shared_level(parts.whole.slots, len(parts.slots), layout.ball_size, sizes)
        self.plan = plan_token_part(parts.cuts, parts.rank, shared, sizes)
        self.levels, self.layout = levels, layout
        self.counts = self.points(k.dtype, ("points of tokens", sizes, k.dtype, k.device))
        self.keys, self.values = [k], [v]
        for level in range(1, shared + 1):
            self.pool(level)
        self.sizes = tuple(sizes.token(level) for level in range(shared + 1))
        both = torch.stack([self.keys.pop(), self.values.pop()], 1)
        beside = None
        if shared > 0:  # the keys of the levels below
            rows = tuple(map(sum, zip(*map(parts.rows, self.sizes[:-1]), strict=True)))
            beside = Beside(tuple(key.detach() for key in self.keys), rows, "descent")
        rows = tuple(2 * n for n in parts.rows(self.sizes[-1]))
        self.coming = Gathering(both.flatten(0, 1), rows, parts.group, "tokens", beside=beside)

    def points(self, dtype: torch.dtype, key: object) -> LevelCounts:
        """Points of the tokens, kept under ``key``: as long as the layout is, or, where all blocks are full, as the
        tables of parts that are cut alike, which have the same."""
        layout, kept = self.layout, self.layout.shared.kept
        if layout.shared.filled is not None:
            return kept_counts(layout, key, lambda: counts_of_parts(layout, self.plan, dtype))
        if key not in kept:
            kept[key] = counts_of_parts(layout, self.plan, dtype)
        counts: LevelCounts = kept[key]
        return counts

    def pool(self, level: int) -> None:
        """Add the tokens of a level."""
        below, counts = level - 1, self.counts
        share, children = counts.shares[below], counts.children[below]
        k, v = self.levels.above(self.keys[-1], self.values[-1], self.plan.padded[below], share, children)
        self.keys.append(k)
        self.values.append(v)

    def wait(self) -> PartTokens:
        """Those of all levels."""
        shared, parts = self.plan.shared, self.layout.shared
        k, v = parts.in_order(self.coming.wait().unflatten(0, (-1, 2)), self.sizes[-1]).unbind(1)
        self.keys.append(k)
        self.values.append(v)
        for level in range(shared + 1, len(self.plan.tokens)):
            self.pool(level)
        far, self.coming.far = self.coming.far, None
        below = () if far is None else parts.by_size(far, self.sizes[:-1])
        keys = (*below, *(k.detach() for k in self.keys[shared:]))
        return PartTokens(tuple(self.keys), tuple(self.values), self.counts, self.plan, self.layout, keys)


def counts_of_parts(layout: PartLayout, plan: TokenPart, dtype: torch.dtype) -> LevelCounts:
    """Points of the tokens that the tables name, from those of all blocks."""
    filled, fan = layout.shared.filled, plan.sizes.fan
    if filled is None:
        filled = torch.full((sum(plan.tokens[0]),), layout.block_size, device=layout.coord.device)
    whole, shares = [filled.to(torch.promote_types(dtype, torch.float32))], []
    for below, above in pairwise(plan.tokens):
        parts = zip(whole[-1].split(below), above, strict=True)
        children = torch.cat([F.pad(x, (0, n * fan - len(x))).view(-1, fan) for x, n in parts])
        whole.append(children.sum(1))
        shares.append(children / whole[-1].clamp(min=1).unsqueeze(1))
    own = [on_device(names, filled.device) for names in plan.names]
    shares = [share[own[j]] if j <= plan.shared else share for j, share in enumerate(shares, 1)]
    empty = tuple(count == 0 for count in whole)
    whole[0] = weights(whole[0], plan)
    table = [*(x[names] for x, names in zip(whole, own[: plan.shared], strict=False)), *whole[plan.shared :]]
    return LevelCounts.made(torch.cat(table).log(), empty, tuple(share.view(-1, 1, 1).to(dtype) for share in shares))
