"""The transformer block that all networks here share, and its stack over a ball tree.

``S`` slots in tree order, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree
from pointcept_bsa.ops.permute import permute
from pointcept_bsa.ops.side_streams import wait_for_later
from pointcept_bsa.ops.silu_product import silu_halves, silu_product

from .attention_layer import AttentionLayer
from .conditioning import Film, scaled
from .linear import Linear, Summand, joined_linear, worth_joining
from .norm import RMSNorm
from .recompute import check_recompute, recomputed
from .residual import Residual

ROWS_AT_ONCE = 1 << 16  # of what acts on each slot alone, where no gradient is wanted


class SwiGLU(nn.Module):
    """w3(w2 x * silu(w1 x)) (Shazeer 2020, arXiv 2002.05202): (..., C) -> (..., C)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.w1 = Linear(dim, hidden)
        self.w2 = Linear(dim, hidden)
        self.w3 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.w3(self.hidden(x))

    def hidden(self, x: Tensor) -> Tensor:
        """w2 x * silu(w1 x)."""
        if worth_joining(x, self.w1, self.w2):
            return silu_halves(joined_linear(x, self.w1, self.w2))
        return silu_product(self.w1(x), self.w2(x))


class TransformerBlock(nn.Module):
    """x += attention(RMSNorm(x)); x += SwiGLU(RMSNorm(x)), the last sum left to who goes on.

    Args:
        attention: layer that is given whatever else the block is called with.
        dim: C.
        mlp_ratio: hidden width of the SwiGLU over C.
        checkpoint: in training keep only the block's input for the backward pass, and compute the rest again there:
            less memory, one more forward pass. ``"selective"`` keeps the outputs of the attentions, too: half of the
            memory, and a fraction of the time of the other. The block must draw nothing at random.

    Called with a ``film`` it scales and shifts both sums that the layers take by what it says of each cloud.
    Without gradients the SwiGLU, whose hidden values are the largest there are, takes ``ROWS_AT_ONCE`` slots at a time.
    """

    shard_unit = True  # what a host that shards parameters over processes shards as one

    def __init__(self, attention: AttentionLayer, dim: int, mlp_ratio: int = 4, checkpoint: bool | str = False):
        super().__init__()
        self.checkpoint = check_recompute(checkpoint)
        self.norm1 = RMSNorm(dim)
        self.attention = attention
        self.norm2 = RMSNorm(dim)
        self.swiglu = SwiGLU(dim, dim * mlp_ratio)

    def forward(
        self, stream: Any, *geometry: object, film: Film | None = None, run: Callable[..., Any] | None = None
    ) -> Any:
        """The next stream; with ``run(block, stream, *geometry)`` what another way through the block gives."""
        way = partial(self.run, film=film) if run is None else partial(run, self)
        if self.checkpoint and torch.is_grad_enabled():
            return recomputed(way, self.checkpoint, stream, *geometry)
        return way(stream, *geometry)

    def run(self, stream: Residual, *geometry: object, film: Film | None = None) -> Residual:
        """The block itself."""
        x, entered = self.attention.enter(stream, self.norm1, *geometry)
        if film is not None:
            entered = film.of_attention(entered)
        a = self.attention(x, *geometry, norm=self.norm1, entered=entered)
        if torch.is_grad_enabled():
            x, normed = Residual(x, a).normed(self.norm2)
            if film is not None:
                normed = film.of_feed_forward(normed)
            return Residual(x, self.swiglu.w3.summand(self.swiglu.hidden(normed), within=False))
        x, a = by_rows(self.feed_forward, x, a.value, *(() if film is None else film.rows_of_feed_forward()))
        return Residual(x, Summand(a))

    def feed_forward(self, x: Tensor, a: Tensor, *film: Tensor) -> tuple[Tensor, Tensor]:
        """x + a, and SwiGLU(RMSNorm(x + a)), each row for itself; ``film``: scale and shift of each row."""
        x, normed = Residual(x, Summand(a)).normed(self.norm2)
        return x, self.swiglu(scaled(normed, *film) if film else normed)


def by_rows(function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
    """``function(*inputs)``, which treats each row for itself, in parts.

    The same numbers (a matrix product of another height may round otherwise), less memory.
    """
    rows = inputs[0].shape[0]
    if rows <= ROWS_AT_ONCE:
        return function(*inputs)
    out: tuple[Tensor, ...] = ()
    for first in range(0, rows, ROWS_AT_ONCE):
        results = function(*(t[first : first + ROWS_AT_ONCE] for t in inputs))
        out = out or tuple(result.new_empty(rows, *result.shape[1:]) for result in results)
        for whole, part in zip(out, results, strict=True):
            whole[first : first + ROWS_AT_ONCE] = part
    return out


class BallTreeStack(nn.ModuleList):
    """Blocks in sequence over one ball tree; odd blocks see the balls of the rotated tree.

    Args:
        blocks: modules called with a :class:`.Residual` of (S, C) and a :class:`BallLayout`, which give another.
        rotate: odd blocks use ``tree.rotated``.
        skip_every: after each so many blocks, add the input of those blocks once more; 0 for never.
    """

    def __init__(self, blocks: list[nn.Module], *, rotate: bool, skip_every: int = 0):
        super().__init__(blocks)
        self.rotate = rotate
        self.skip_every = skip_every

    def forward(self, x: Tensor, tree: BallTree, *others: object, films: Sequence[Tensor] | None = None) -> Tensor:
        """(S, C) in tree order -> (S, C) in tree order.

        Args:
            others: go to each block behind the layout.
            films: (B, 4, C) for each block, see :class:`.Film`.
        """
        rotated = False
        skip, stream = x, Residual(x)
        for i, block in enumerate(self):
            if self.rotate and rotated != bool(i % 2):
                rotated = not rotated
                stream = stream._replace(order=turn(tree, to_rotated=rotated))
            layout: BallLayout | None = tree.rotated if rotated else tree.layout
            film = {} if films is None else {"film": Film(films[i], tree.layout.slots)}
            stream = block(stream, layout, *others, **film)
            if self.skip_every and (i + 1) % self.skip_every == 0:
                x = stream.total() + (permute(skip, *turn(tree, to_rotated=True)) if rotated else skip)
                skip, stream = permute(x, *turn(tree, to_rotated=False)) if rotated else x, Residual(x)
        wait_for_later(x)
        return stream._replace(order=turn(tree, to_rotated=False) if rotated else None).total()


def turn(tree: BallTree, *, to_rotated: bool) -> tuple[Tensor, Tensor]:
    """The permutation of slots between the main and the rotated tree, and its inverse."""
    there, back = tree.rotation, tree.rotation_inverse
    if there is None or back is None:
        raise ValueError("tree: got one without rotation, wanted BallTree.build(..., rotate=degrees)")
    return (there, back) if to_rotated else (back, there)


def init_weights(module: nn.Module, draw: Callable[[Tensor], Any] | None = None) -> None:
    """Zero biases; linear weights from a truncated normal of std 0.02 (Erwin's initialisation), or as ``draw`` does.

    Modules with a beginning of their own (``starts_itself``) are left as they are.
    """
    for child in module.children():
        if not getattr(child, "starts_itself", False):
            init_weights(child, draw)
    if isinstance(module, nn.Linear):
        (draw or partial(nn.init.trunc_normal_, std=0.02))(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
