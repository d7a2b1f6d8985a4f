"""Coarse tokens of several levels over clouds of which this process has a part: see :mod:`.token_part`.

The own tokens of level J go to everybody, those below are seen at home alone. The descent to the blocks with the
largest scores fetches what it meets in other parts: the keys of a token's children, for the heads that ask for them.

``G`` query groups, ``H`` heads, ``D`` channels a head, ``f`` the fan, ``T_j`` tokens of level j of the whole clouds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.distributed.collectives import Gathering
from pointcept_bsa.geometry.host_tables import on_device
from pointcept_bsa.geometry.part_layout import PartLayout
from pointcept_bsa.geometry.token_part import TokenPart, plan_token_part, shared_level
from pointcept_bsa.layers.far_rows import FarRows
from pointcept_bsa.layers.token_levels import LevelCounts, TokenLevels, Tokens, kept_counts
from pointcept_bsa.ops.tree_descent import best_children


@dataclass(frozen=True, eq=False)
class PartTokens(Tokens):
    """Own tokens of the levels below J, all of the others. ``counts.empty`` is of all tokens on every level."""

    plan: TokenPart
    layout: PartLayout

    def step(
        self,
        q: Tensor,
        k: Tensor,
        parents: Tensor,
        level: int,
        keep: int,
        sizes: tuple[int, int] | None,
        ball: Tensor | None,
    ) -> Tensor:
        """Below level J ``k`` are the own keys: those of the others' children are fetched.

        Heads one behind the other, as if they were groups of one head: each has fetched others.
        """
        if level >= self.plan.shared:
            return super().step(q, k, parents, level, keep, sizes, ball)
        plan, heads, device = self.plan, q.shape[1], q.device
        far = FarRows.of(parents, self.layout.block_size * plan.fan ** (level + 1), self.layout.shared, "descent")
        index = on_device(plan.padded[level][0], device)
        near = k[index].unflatten(0, (-1, plan.fan))  # (P, f, H, D)
        rows = torch.cat([near.permute(2, 0, 1, 3).flatten(0, 1), far.requests.fetch(near).squeeze(1)])
        above = torch.cat([on_device(plan.names[level + 1], device).repeat(heads), far.names])
        child, there = self.children(above, level)
        hidden = ~there | self.counts.empty[level][child.clamp(max=sum(plan.tokens[level]) - 1)]
        best = best_children(
            q.transpose(0, 1).flatten(0, 1).unsqueeze(1),
            rows.flatten(0, 1).unsqueeze(1),
            far.in_one_head(),
            torch.arange(len(rows) + 1, device=device, dtype=torch.int32) * plan.fan,
            hidden.flatten(),
            plan.fan,
            keep,
            ball=None if ball is None else ball.repeat(heads),
            child_ball=(child // sizes[1]).flatten() if sizes else None,
        )
        chosen = child.flatten()[best.clamp(min=0)].masked_fill(best < 0, -1)
        return chosen.squeeze(1).unflatten(0, (heads, -1)).transpose(0, 1)

    def children(self, parents: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """The f places of the children, on ``level``, of tokens one level above, (n, f), and which of them exist."""
        plan, device = self.plan, parents.device
        below, above = (torch.tensor(plan.tokens[j], device=device).cumsum(0) for j in (level, level + 1))
        cloud = torch.bucketize(parents, above, right=True)
        starts = [torch.cat([ends.new_zeros(1), ends[:-1]]) for ends in (below, above)]
        first = (parents - starts[1][cloud]) * plan.fan + starts[0][cloud]
        child = first.unsqueeze(1) + torch.arange(plan.fan, device=device)
        return child, child < below[cloud].unsqueeze(1)


class TokensOfClouds:
    """Tokens of the own blocks, of which those of level J are on their way to everybody."""

    def __init__(self, levels: TokenLevels, k: Tensor, v: Tensor, layout: PartLayout):
        parts, sizes = layout.shared, (levels.block_size, levels.near, levels.fan)
        shared = shared_level(parts.whole.slots, len(parts.slots), layout.ball_size, *sizes)
        self.plan = plan_token_part(parts.cuts, parts.rank, shared, *sizes)
        self.levels, self.layout = levels, layout
        self.counts = kept_counts(layout, (sizes, k.dtype), lambda: counts_of_parts(layout, self.plan, k.dtype))
        self.keys, self.values = [k], [v]
        for level in range(1, shared + 1):
            self.pool(level)
        both = torch.stack([self.keys.pop(), self.values.pop()], 1)
        size = levels.block_size * levels.fan**shared
        self.gathering = Gathering(both, parts.rows(size), parts.group, "tokens")
        self.size = size

    def pool(self, level: int) -> None:
        """Add the tokens of a level."""
        k, v = self.levels.above(
            self.keys[-1], self.values[-1], self.plan.padded[level - 1], self.counts.shares[level - 1]
        )
        self.keys.append(k)
        self.values.append(v)

    def wait(self) -> PartTokens:
        """Those of all levels."""
        k, v = self.layout.shared.in_order(self.gathering.wait(), self.size).unbind(1)
        self.keys.append(k)
        self.values.append(v)
        for level in range(self.plan.shared + 1, len(self.plan.tokens)):
            self.pool(level)
        return PartTokens(tuple(self.keys), tuple(self.values), self.counts, self.plan, self.layout)


def counts_of_parts(layout: PartLayout, plan: TokenPart, dtype: torch.dtype) -> LevelCounts:
    """Points of the tokens that the tables name, from those of all blocks."""
    filled, fan = layout.shared.filled, plan.fan
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
    table = [*(x[names] for x, names in zip(whole, own[: plan.shared], strict=False)), *whole[plan.shared :]]
    empty = tuple(count == 0 for count in whole)
    return LevelCounts(torch.cat(table).log(), empty, tuple(share.view(-1, 1, 1).to(dtype) for share in shares))
