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
        child, there = self.children(torch.cat([self.own_tokens(level + 1).repeat(heads), far.names]), level)
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

    def own_tokens(self, level: int) -> Tensor:
        """Own tokens of a level up to J, counted over the whole clouds."""
        plan, before, out = self.plan, 0, []
        for first, own, tokens in zip(plan.first[level], plan.own[level], plan.tokens[level], strict=True):
            out.append(torch.arange(before + first, before + first + own, device=self.k[0].device))
            before += tokens
        return torch.cat(out)

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
        self.plan = plan_token_part(parts.slots, parts.rank, shared, *sizes)
        self.levels, self.layout = levels, layout
        self.counts = kept_counts(layout, (sizes, k.dtype), lambda: counts_of_parts(layout, self.plan, k.dtype))
        self.keys, self.values = [k], [v]
        for level in range(1, shared + 1):
            self.pool(level)
        both = torch.stack([self.keys.pop(), self.values.pop()], 1)
        size = levels.block_size * levels.fan**shared
        self.gathering = Gathering(both, parts.rows(size), parts.group, "tokens", parts.pieces(size))

    def pool(self, level: int) -> None:
        """Add the tokens of a level."""
        k, v = self.levels.above(
            self.keys[-1], self.values[-1], self.plan.padded[level - 1], self.counts.shares[level - 1]
        )
        self.keys.append(k)
        self.values.append(v)

    def wait(self) -> PartTokens:
        """Those of all levels."""
        k, v = self.gathering.wait().unbind(1)
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
    whole = [list(filled.to(torch.promote_types(dtype, torch.float32)).split(plan.tokens[0]))]
    for tokens in plan.tokens[1:]:
        padded = [F.pad(x, (0, n * fan - len(x))) for x, n in zip(whole[-1], tokens, strict=True)]
        whole.append([x.view(-1, fan).sum(1) for x in padded])
    own = [
        [x[start : start + n] for x, start, n in zip(level, first, numbers, strict=True)]
        for level, first, numbers in zip(whole, plan.first, plan.own, strict=False)
    ]
    shares = []
    for below, above in [*pairwise(own), *pairwise(whole[plan.shared :])]:
        children = [F.pad(x, (0, len(n) * fan - len(x))).view(-1, fan) for x, n in zip(below, above, strict=True)]
        shares.append(torch.cat(children) / torch.cat(above).clamp(min=1).unsqueeze(1))
    table = [torch.cat(level) for level in [*own[: plan.shared], *whole[plan.shared :]]]
    empty = tuple(torch.cat(level) == 0 for level in whole)
    return LevelCounts(torch.cat(table).log(), empty, tuple(share.view(-1, 1, 1).to(dtype) for share in shares))
