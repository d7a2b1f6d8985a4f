"""Coarse tokens of several levels for the compression and selection branches: near things fine, far things coarse.

``S`` slots, ``H`` heads, ``D`` channels a head, ``l`` slots a block, ``T`` tokens of all levels, ``T_j`` of level j,
``f`` the fan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from pointcept_bsa.dispatch import kept_for_graphs
from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.geometry.host_tables import derived, on_device
from pointcept_bsa.geometry.reorder import reorder
from pointcept_bsa.geometry.token_tree import TokenSizes, TokenTree, plan_tokens
from pointcept_bsa.ops.tree_attention import TokenLists, tree_attention

from .block_pooling import pool_both, pooling
from .token_descent import Candidates, OwnBalls
from .zero_gradients import with_zero_gradients


@dataclass(frozen=True, eq=False)
class LevelCounts:
    """How many points the tokens hold.

    Attributes:
        log: (T,) logarithm of the points of each token, -inf for none; single precision or better. Blocks of clouds
            without levels count alike, as published: 0.
        empty: (T_j,) True for tokens without points, by level.
        shares: (T_j f, 1, 1) for each level from 1 on, the share of each child in the points of its token; zero where
            there is no child.
        children: (T_j f,) where that is not zero.
    """

    log: Tensor
    empty: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]
    children: tuple[Tensor, ...]

    @classmethod
    def of(cls, valid: Tensor, plan: TokenTree, dtype: torch.dtype) -> LevelCounts:
        """From the slots (S,) that hold points, on their device; ``dtype`` of the shares."""
        exact, fan = torch.promote_types(dtype, torch.float32), plan.sizes.fan
        counts = [valid.view(-1, plan.sizes.block).sum(1).to(exact)]
        shares = []
        for index, home in plan.padded:
            child = torch.zeros(len(index), dtype=exact, device=valid.device)
            child = child.index_copy(0, on_device(home, valid.device), counts[-1])
            counts.append(child.view(-1, fan).sum(1))
            shares.append((child.view(-1, fan) / counts[-1].clamp(min=1).unsqueeze(1)).view(-1, 1, 1).to(dtype))
        log = torch.cat([weights(counts[0], plan), *counts[1:]]).log()
        return cls.made(log, tuple(c == 0 for c in counts), tuple(shares))

    @classmethod
    def made(cls, log: Tensor, empty: tuple[Tensor, ...], shares: tuple[Tensor, ...]) -> LevelCounts:
        """With ``children``."""
        return cls(log, empty, shares, tuple(share.flatten() > 0 for share in shares))

    @property
    def tables(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.log, *self.empty, *self.shares, *self.children

    def to(self, device: torch.device) -> LevelCounts:
        """The same on another device."""
        empty, shares = (tuple(t.to(device) for t in tensors) for tensors in (self.empty, self.shares))
        return LevelCounts.made(self.log.to(device), empty, shares)


def weights(points: Tensor, plan: TokenTree) -> Tensor:
    """What the blocks of all clouds, with so many ``points`` (T_0,), count: without levels 1 each, but 0 of none."""
    if plan.plain is None:
        return points
    return torch.where(on_device(plan.plain, points.device), points.clamp(max=1), points)


@dataclass(frozen=True, eq=False)
class Tokens:
    """Keys and values of all levels.

    Attributes:
        k, v: (T_j, H, D) by level, blocks first.
        counts: points of the tokens.
        plan: who sees which.
        layout: the slots below them.
    """

    k: tuple[Tensor, ...]
    v: tuple[Tensor, ...]
    counts: LevelCounts
    plan: TokenTree
    layout: BallLayout

    def attend(self, q: Tensor, lists: TokenLists | None = None) -> Tensor:
        """One softmax over all levels, a token weighed by its points: (Q, H, D) queries -> (Q, H, D).

        Q is S, or a divisor: each query then stands for that many slots. Of other queries ``lists`` say what they see.
        """
        if lists is None:
            lists = self.lists(sum(self.layout.slots) // q.shape[0])
        k, v = (x[0] if len(x) == 1 else torch.cat(x) for x in (self.k, self.v))
        return tree_attention(q, k, v, self.counts.log, lists)

    @property
    def compared(self) -> tuple[Tensor, ...]:
        """The keys with which the descent compares queries, without a gradient."""
        return tuple(k.detach() for k in self.k)

    def lists(self, slots: int) -> TokenLists:
        """What the queries of each near node see, where a query stands for so many slots."""
        plan, device = self.plan, self.k[0].device
        queries = tuple(s // slots for s in plan.nodes)
        starts = derived(plan.seen, ("starts", slots), lambda: torch.tensor([0, *queries]).cumsum(0).int().numpy())
        tables = (on_device(table, device) for table in (starts, plan.lengths, plan.seen, plan.offsets, plan.places))
        return TokenLists(queries, plan.numbers, *tables)


class TokenLevels(nn.Module):
    """Tokens of level 1, 2, ... pooled from those of the level below, and what is done with them.

    Level 0 are the blocks of l slots; a token of level j pools f tokens of level j - 1, so that it stands for
    ``l f^j`` consecutive slots. With ``near`` n, a query sees the blocks in its own run of n slots, the tokens of level
    1 in its own run of n f slots outside of that, those of level 2 in the next ring, ... up to the whole cloud:

        out = sum_t softmax_t(q k_t / sqrt(D) + log c_t) v_t,

    where token t holds c_t points. So equal scores give the mean over all points of the cloud, and a query sees at most
    n / l tokens a level: O(N log N). A cloud of at most ``beyond`` slots, n or more, has one level, and c_t = 1 there,
    as published; where no cloud has more, this module is not asked (see :class:`.CoarseKeys`).

    Args:
        head_dim: D.
        sizes: l, n, f and ``beyond``.
        beam: see :meth:`select`.
        topk: blocks to select.
        phi: ``"mean"``: over the points of a token; ``"mlp"``: an MLP over its f children side by side, for keys and
            for values, the same one on every level (the number of levels depends on the cloud).

    Raises:
        ValueError: sizes that do not fit each other.
    """

    def __init__(self, head_dim: int, sizes: TokenSizes, beam: int, topk: int, phi: str):
        super().__init__()
        if beam * sizes.fan < topk:
            raise ValueError(f"beam: got {beam}, wanted at least topk {topk} children of fan {sizes.fan} each")
        self.sizes = sizes
        self.beam = beam
        self.topk = topk
        self.phi = phi
        self.merge_k = pooling(phi, head_dim, sizes.fan)
        self.merge_v = pooling(phi, head_dim, sizes.fan)

    def forward(self, k: Tensor, v: Tensor, layout: BallLayout) -> Tokens:
        """Keys and values (S / l, H, D) of the blocks -> those of all levels."""
        plan = plan_tokens(layout.slots, self.sizes)
        counts = self.counts(layout, plan, k.dtype)
        keys, values = [k], [v]
        for padded, share, children in zip(plan.padded, counts.shares, counts.children, strict=True):
            k, v = self.above(k, v, padded, share, children)
            keys.append(k)
            values.append(v)
        return Tokens(tuple(keys), tuple(values), counts, plan, layout)

    def unmerged(self, k: Tensor) -> Tensor:
        """Keys of blocks that are all there is, without what pools them, which gets gradients of zero."""
        return with_zero_gradients(k, self.parameters())

    def above(
        self, k: Tensor, v: Tensor, padded: tuple[np.ndarray, np.ndarray], share: Tensor, children: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of the next level, from those of the tokens (T_j, H, D): see :class:`.TokenTree`."""
        index, home = padded
        if len(index) > len(home):  # a token with fewer than f children
            there, back = (on_device(table, k.device) for table in (index, home))
            k, v = (reorder(x, there, back) for x in (k, v))
        return self.merge(k, v, share, children)

    def merge(self, k: Tensor, v: Tensor, share: Tensor, children: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the level above, from those at the places of its children (T_j f, H, D)."""
        if self.phi == "mlp":
            return pool_both(self.merge_k, self.merge_v, k, v, children)
        # autocast would sum in float32, and the levels have one type
        k, v = ((x * share).unflatten(0, (-1, self.sizes.fan)).sum(1, dtype=x.dtype) for x in (k, v))
        return k, v

    def counts(self, layout: BallLayout, plan: TokenTree, dtype: torch.dtype) -> LevelCounts:
        """Points of the tokens, made once a layout: on the host where it knows the points, else on the device."""
        key, given = ("points of tokens", self.sizes, dtype), (plan, dtype)
        known, device = layout.host_valid, layout.coord.device
        if known is None:
            assert layout.valid is not None
            valid = layout.valid
            return kept_counts(layout, key, lambda: LevelCounts.of(valid, *given))
        counts = derived(known, (*key, device), lambda: LevelCounts.of(torch.tensor(known), *given).to(device))
        for table in counts.tables:
            kept_for_graphs(table)
        return counts

    def select(
        self,
        q: Tensor,
        tokens: Tokens,
        group_size: int,
        mask_own_ball: bool,
        queries: tuple[int, ...] | None = None,
        ball: Tensor | None = None,
    ) -> Tensor:
        """The blocks with the largest <q, k> among those that the descent meets, per query group and head. No gradient.

        On the highest level of a cloud all tokens are compared, and the ``beam`` best kept; then, level by level, their
        children, of which again the ``beam`` best are kept; of the blocks at last the ``topk`` best. Tokens inside the
        own ball are left out with ``mask_own_ball``.

        Args:
            q: (S / g, H, D) one query a group.
            tokens: of all levels.
            group_size: g.
            queries, ball: of queries that are not those of the slots, how many there are of each cloud, and the ball
                (S,) of each; each is a group of its own.

        Returns:
            (S / g, H, topk) blocks by falling score, -1 where there are fewer.
        """
        layout = tokens.layout
        own = None
        if mask_own_ball:
            ball = layout.own_units(group_size, layout.ball_size) if ball is None else ball
            own = OwnBalls(layout.ball_size, group_size, ball)
        if queries is None:
            queries = tuple(s // group_size for s in layout.slots)
        candidates = Candidates(tokens.plan, tokens.compared, tokens.counts.empty)
        return candidates.best(q.detach(), queries, self.beam, self.topk, own)


_of_layouts: WeakKeyDictionary[BallLayout, dict[object, LevelCounts]] = WeakKeyDictionary()


def kept_counts(layout: BallLayout, key: object, make: Callable[[], LevelCounts]) -> LevelCounts:
    """``make()``, kept under ``key`` as long as the layout is."""
    kept = _of_layouts.setdefault(layout, {})
    if key not in kept:
        kept[key] = make()
    return kept[key]


def recall(found: Tensor, exact: Tensor) -> float:
    """The share of the blocks ``exact`` (G, H, K) that are among ``found`` (G, H, K); -1 stands for none."""
    wanted = exact >= 0
    hit = (exact.unsqueeze(-1) == found.unsqueeze(-2)).any(-1) & wanted
    return float(hit.sum() / wanted.sum())
