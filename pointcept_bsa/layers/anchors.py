"""Anchors and queries: a network encodes some points once, and any others pass through the same layers behind them.

A query attends to the anchors alone. So what becomes of it depends on no other query.

``Q`` queries, ``S`` slots of the anchors' tree, ``d`` dimensions, ``m`` slots a ball, ``H`` heads, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree, ball_mean
from pointcept_bsa.geometry.descent import Descent
from pointcept_bsa.geometry.host_tables import host_table, on_device
from pointcept_bsa.geometry.reorder import reorder
from pointcept_bsa.geometry.token_tree import TokenTree
from pointcept_bsa.layers.token_levels import Tokens
from pointcept_bsa.ops.ball_attention.queries import LEAST_ROWS
from pointcept_bsa.ops.tree_attention import TokenLists

MOST_ROWS = 64  # queries of a tile
MOST_NEAR = 256  # of a tile by near nodes, each of which copies the tokens that it sees


@dataclass(frozen=True, eq=False)
class KeysValues:
    """What the anchors of one layer are asked by.

    Attributes:
        k, v: (S, Hkv, D) of the anchors, as attention gets them.
        k_cmp, v_cmp: (S / l, Hkv, D) coarse ones of their blocks; None without a tree.
        tokens: those of all levels, where there are several.
    """

    k: Tensor
    v: Tensor
    k_cmp: Tensor | None = None
    v_cmp: Tensor | None = None
    tokens: Tokens | None = None

    @property
    def coarse(self) -> tuple[Tensor, Tensor]:
        """``k_cmp, v_cmp`` where there are any."""
        assert self.k_cmp is not None and self.v_cmp is not None
        return self.k_cmp, self.v_cmp


class Memory:
    """What a network remembers of its anchors; its layers add to it.

    (No dataclass: hosts that shard parameters hand copies of those to the blocks.)

    Attributes:
        lengths, offset: anchors of each cloud, and as (B,) cumulative.
        coord: (N, d) of the anchors.
        layers: one entry a layer, in the order of the layers.
        embedded: (N, C) what the anchors send in each step of message passing.
        feat: (N, C) the network's output at the anchors.
    """

    def __init__(self, lengths: tuple[int, ...], offset: Tensor, coord: Tensor) -> None:
        self.lengths, self.offset, self.coord = lengths, offset, coord
        self.layers: list[KeysValues] = []
        self.embedded: list[Tensor] = []
        self.feat: Tensor | None = None


class TreeMemory(Memory):
    """That of a network over a ball tree.

    Attributes:
        tree: of the anchors.
        main, rotated: the planes by which queries descend the tree, and the rotated one.
        plan: which tokens of several levels are seen from where; None: there is one level, which all see.
    """

    tree: BallTree
    main: Descent
    rotated: Descent | None = None
    plan: TokenTree | None = None

    def remember(self, tree: BallTree, degrees: float, plan: TokenTree | None = None) -> None:
        """Take in the tree of the anchors, the second one rotated by ``degrees``; 0 for none."""
        self.tree, self.main, self.plan = tree, Descent.of(tree.layout), plan
        if tree.rotated is not None:
            self.rotated = Descent.of(tree.rotated, degrees)

    def positions(self, coord: Tensor, lengths: tuple[int, ...]) -> tuple[QueryPositions, QueryPositions | None]:
        """Where queries at (Q, d) lie in the main and in the rotated tree."""
        main = QueryPositions.of(coord, lengths, self.tree.layout, self.main, self.plan)
        if self.rotated is None or self.tree.rotated is None:
            return main, None
        return main, QueryPositions.of(coord, lengths, self.tree.rotated, self.rotated, self.plan)


@dataclass(frozen=True, eq=False)
class CloudQueryPositions:
    """Where queries lie in clouds without a tree.

    Attributes:
        relative: (Q, d) position relative to the mean of the cloud's anchors.
        lengths, anchors: queries and anchors of each cloud.
    """

    relative: Tensor
    lengths: tuple[int, ...]
    anchors: tuple[int, ...]

    @property
    def coord(self) -> Tensor:
        """Positions by which queries and keys are turned."""
        return self.relative

    @classmethod
    def of(cls, coord: Tensor, lengths: tuple[int, ...], mean: Tensor, anchors: tuple[int, ...]) -> CloudQueryPositions:
        """Of queries at (Q, d), where the anchors of each cloud have the mean (B, d)."""
        return cls(coord - mean[cloud_of(lengths, coord.device)], lengths, anchors)


@dataclass(frozen=True, eq=False)
class QueryPositions:
    """Where queries lie among the balls of anchors.

    Attributes:
        coord: (Q, d).
        relative: (Q, d) position relative to the mean of the anchors of the ball.
        lengths: queries of each cloud.
        layout: of the anchors.
        block, ball: (Q,) block and ball of the layout into which each query falls.
        tiles: the queries ball by ball.
        near: the queries by what they see of the levels of tokens, where there are several.
    """

    coord: Tensor
    relative: Tensor
    lengths: tuple[int, ...]
    layout: BallLayout
    block: Tensor
    ball: Tensor
    tiles: Tiles
    near: NearTiles | None = None

    @classmethod
    def of(
        cls,
        coord: Tensor,
        lengths: tuple[int, ...],
        layout: BallLayout,
        descent: Descent,
        plan: TokenTree | None = None,
    ) -> QueryPositions:
        """Let queries at (Q, d) descend."""
        coord = coord.detach()
        block = descent(coord, cloud_of(lengths, coord.device))
        ball = block // (layout.ball_size // layout.block_size)
        mean = ball_mean(layout.coord, layout.valid, layout.ball_size)
        tiles = Tiles.of(ball, len(mean))
        near = None if plan is None else NearTiles.of(block, plan)
        return cls(
            coord, coord - mean[ball], lengths=lengths, layout=layout, block=block, ball=ball, tiles=tiles, near=near
        )


@dataclass(frozen=True, eq=False)
class Tiles:
    """Queries laid side by side with others of their ball, in tiles of a fixed number of rows, G of them.

    Shapes depend on the numbers of queries and balls alone: the device decides nothing that the host waits for.

    Attributes:
        rows: r.
        ball: (G,) whose queries a tile holds.
        slot_of_query: (Q,) row of each query among the G r.
        query: (G r,) the query of each row, some query in rows of none.
        used: (G r,) False in rows of none.
    """

    rows: int
    ball: Tensor
    slot_of_query: Tensor
    query: Tensor
    used: Tensor

    @classmethod
    def of(cls, ball: Tensor, balls: int, most: int = MOST_ROWS) -> Tiles:
        """From the ball (Q,) of each query; there are ``balls`` of them. ``most``: rows of a tile at most."""
        queries, device = len(ball), ball.device
        share = 1 << (queries // balls).bit_length() >> 2  # a quarter to half of what a ball has on average
        rows = min(most, max(LEAST_ROWS, share))
        tiles = min(queries // rows + balls, queries)
        own, order = ball.sort(stable=True)
        starts = torch.searchsorted(own, torch.arange(balls + 1, device=device))
        ends = ((starts.diff() + rows - 1) // rows).cumsum(0)
        first = ends - (starts.diff() + rows - 1) // rows
        rank = torch.arange(queries, device=device) - starts[own]
        slot_of_query = torch.empty_like(ball).index_copy_(0, order, first[own] * rows + rank)
        query = ball.new_zeros(tiles * rows).index_copy_(0, slot_of_query, torch.arange(queries, device=device))
        used = torch.zeros(tiles * rows, dtype=torch.bool, device=device).index_fill_(0, slot_of_query, True)
        of_tile = torch.searchsorted(ends, torch.arange(tiles, device=device), right=True).clamp(max=balls - 1)
        return cls(rows, of_tile, slot_of_query, query, used)

    def spread(self, x: Tensor) -> Tensor:
        """(Q, ...) -> (G r, ...)."""
        return reorder(x, self.query, self.slot_of_query)

    def collect(self, x: Tensor) -> Tensor:
        """(G r, ...) -> (Q, ...)."""
        return reorder(x, self.slot_of_query, self.query, self.used)


@dataclass(frozen=True, eq=False)
class NearTiles:
    """Queries by the near node of :class:`.TokenTree` into which they fall: all of a node see the same tokens.

    Attributes:
        tiles: the queries node by node.
        lists: the tokens that each tile sees.
    """

    tiles: Tiles
    lists: TokenLists

    @classmethod
    def of(cls, block: Tensor, plan: TokenTree) -> NearTiles:
        """From the block (Q,) of each query."""
        node, seen, lengths = (on_device(table, block.device) for table in (plan.node, plan.seen, plan.lengths))
        tiles = Tiles.of(node[block], len(plan.nodes), MOST_NEAR)
        total = sum(plan.totals) if torch.is_grad_enabled() else None
        return cls(tiles, TokenLists.of_tiles(tiles.rows, tiles.ball, seen, lengths, total))

    def attend(self, q: Tensor, tokens: Tokens) -> Tensor:
        """Attention of queries (Q, H, D) to the tokens of all levels that they see."""
        return self.tiles.collect(tokens.attend(self.tiles.spread(q), self.lists))


def cloud_of(lengths: Sequence[int], device: torch.device) -> Tensor:
    """(Q,) the cloud of each point."""
    return on_device(_clouds(tuple(lengths)), device)


@lru_cache(maxsize=16)
def _clouds(lengths: tuple[int, ...]) -> np.ndarray:
    return host_table(np.repeat(np.arange(len(lengths)), lengths))
