"""Selection by descent over levels of tokens: see :meth:`.TokenLevels.select`.

``Q`` queries, ``H`` heads, ``D`` channels a head, ``T_j`` tokens of level j.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.geometry.host_tables import derived, on_device
from pointcept_bsa.geometry.token_tree import TokenTree, plan_tokens
from pointcept_bsa.ops.block_selection import select_blocks
from pointcept_bsa.ops.tree_descent import best_children, compares_in_turn


@dataclass(frozen=True, eq=False)
class OwnBalls:
    """Balls whose tokens their own queries leave out.

    Attributes:
        size: slots of a ball.
        group: slots of a query.
        ball: (Q,) that of each query, counted over the batch; None where a query stands for the slots of its place.
    """

    size: int
    group: int
    ball: Tensor | None = None

    def tokens(self, size: int) -> int:
        """Tokens of so many slots in a ball; 0 where they are no smaller than it."""
        return self.size // size if self.size % size == 0 else 0


@dataclass(frozen=True, eq=False)
class Candidates:
    """Keys of the tokens among which queries choose.

    Attributes:
        plan: their levels.
        keys: (T_j, H, D) by level, blocks first.
        empty: (T_j,) True for tokens without points, by level.
    """

    plan: TokenTree
    keys: tuple[Tensor, ...]
    empty: tuple[Tensor, ...]

    def best(self, q: Tensor, queries: tuple[int, ...], beam: int, topk: int, own: OwnBalls | None = None) -> Tensor:
        """The ``topk`` blocks found for each query (Q, H, D): (Q, H, topk), -1 where there are fewer.

        A cloud's descent begins at its own highest level, whatever other clouds are in the batch.

        Args:
            q: queries, cloud after cloud.
            queries: of each cloud.
            beam: tokens of a level whose children are compared.
            topk: blocks.
            own: None: of the own ball, too.
        """
        if len({self.plan.sizes.top_of(slots) for slots in self.slots}) == 1:
            return self.descend(q, queries, beam, topk, own)
        found = []
        for clouds, some in self.runs():
            first, last = (sum(queries[:cloud]) for cloud in (clouds.start, clouds.stop))
            before = sum(self.plan.tokens[0][: clouds.start])
            theirs = own
            if own is not None and own.ball is not None:
                theirs = replace(own, ball=own.ball[first:last] - before * self.plan.sizes.block // own.size)
            chosen = some.descend(q[first:last], queries[clouds], beam, topk, theirs)
            found.append(torch.where(chosen >= 0, chosen + before, chosen))
        return torch.cat(found)

    @property
    def slots(self) -> tuple[int, ...]:
        """Of each cloud."""
        return tuple(blocks * self.plan.sizes.block for blocks in self.plan.tokens[0])

    def runs(self) -> Iterator[tuple[slice, Candidates]]:
        """Neighbouring clouds of as many levels, and the tokens of theirs."""
        plan, start = self.plan, 0
        for _, some in groupby(self.slots, plan.sizes.top_of):
            clouds = slice(start, start := start + len(list(some)))
            of_run = plan_tokens(self.slots[clouds], plan.sizes)
            rows = [slice(sum(n[: clouds.start]), sum(n[: clouds.stop])) for n in plan.tokens[: len(of_run.tokens)]]
            keys, empty = (
                tuple(x[there] for x, there in zip(of_all, rows, strict=False)) for of_all in (self.keys, self.empty)
            )
            yield clouds, Candidates(of_run, keys, empty)

    def descend(self, q: Tensor, queries: tuple[int, ...], beam: int, topk: int, own: OwnBalls | None) -> Tensor:
        """:meth:`best` of clouds which all have the levels of the plan."""
        plan, keys, top = self.plan, self.keys, self.plan.top
        sizes = [plan.sizes.token(level) for level in range(top + 1)]
        inside = [0 if own is None else own.tokens(size) for size in sizes]
        ball = None if own is None else own.ball
        keep, most = beam if top else topk, max(plan.tokens[top])
        if not compares_in_turn(q, keys[top], most, keep):
            balls = None
            if own is not None and inside[top]:
                balls = tuple(slots // own.size for slots in self.slots)
            chosen = select_blocks(
                q,
                keys[top],
                queries,
                plan.tokens[top],
                keep,
                balls=balls,
                block_valid=~self.empty[top],
                own=ball if inside[top] else None,
            )
            below = top
        else:
            chosen, below = self.clouds(queries, q), top + 1
        for level in range(below - 1, -1, -1):
            chosen = best_children(
                q,
                keys[level],
                parents=chosen,
                first_child=on_device(self.first_child(level), q.device),
                hidden=self.empty[level],
                fan=plan.sizes.fan if level < top else most,
                keep=beam if level else topk,
                own=(own.size // own.group, inside[level]) if own is not None and inside[level] else None,
                ball=ball if inside[level] else None,
            )
        return chosen

    def clouds(self, queries: tuple[int, ...], q: Tensor) -> Tensor:
        """(Q, H, 1): the cloud of each query, as if it were a token above those of the top."""
        table = derived(
            self.plan.seen, ("clouds", queries), lambda: np.repeat(np.arange(len(queries), dtype=np.int32), queries)
        )
        return on_device(table, q.device).view(-1, 1, 1).expand(-1, q.shape[1], 1)

    def first_child(self, level: int) -> np.ndarray:
        """First token of the level below each token of the one above; on the top below each cloud."""
        plan = self.plan
        if level < plan.top:
            return plan.first_child[level]
        table: np.ndarray = derived(plan.seen, "tops", lambda: np.cumsum([0, *plan.tokens[level]], dtype=np.int32))
        return table
