"""The transformer block that all networks here share, and its stacks.

``S`` slots in tree order, ``C`` channels. What runs on the GPU, with the same parameters: :mod:`.fused`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.prenorm import by_rows, check_recompute, recomputed
from pointcept_bsa.ops.silu_product import silu_product

from .attention import check_counts
from .attention_layer import AttentionLayer
from .conditioning import Film, films_of, scaled
from .fused.block import feed_forward, run_block
from .fused.stack import run_blocks, run_stack
from .fused.switch import fused
from .linear import Linear
from .norm import RMSNorm


class SwiGLU(nn.Module):
    """w3(w2 x * silu(w1 x)) (Shazeer 2020, arXiv 2002.05202): (..., C) -> (..., C)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.w1 = Linear(dim, hidden)
        self.w2 = Linear(dim, hidden)
        self.w3 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(self, x).to_tensor() if fused(x) else self.w3(silu_product(self.w1(x), self.w2(x)))


class TransformerBlock(nn.Module):
    """x += attention(RMSNorm(x)); x += SwiGLU(RMSNorm(x)).

    Args:
        attention: layer that is given whatever else the block is called with.
        dim: C.
        mlp_ratio: hidden width of the SwiGLU over C.
        recompute: in training keep only the block's input for the backward pass, and compute the rest again there
            (activation checkpointing): less memory, one more forward pass. ``"selective"`` keeps the outputs of the
            attentions, too: half of the memory, and a fraction of the time of the other. The block must draw nothing
            at random.

    Called with a ``film`` it scales and shifts both sums that the layers take by what it says of each cloud.
    Without gradients the SwiGLU, whose hidden values are the largest there are, takes some slots at a time, see
    :func:`.by_rows`.

    Raises:
        ValueError: arguments out of range.
    """

    shard_unit = True  # what a host that shards parameters over processes shards as one

    def __init__(self, attention: AttentionLayer, dim: int, mlp_ratio: int = 4, recompute: bool | str = False):
        super().__init__()
        check_counts(mlp_ratio=mlp_ratio)
        self.recompute = check_recompute(recompute)
        self.norm1 = RMSNorm(dim)
        self.attention = attention
        self.norm2 = RMSNorm(dim)
        self.swiglu = SwiGLU(dim, dim * mlp_ratio)

    def forward(
        self, x: Tensor, *geometry: object, film: Film | None = None, run: Callable[..., Any] | None = None
    ) -> Tensor:
        """(S, C) -> (S, C); with ``run(block, x, *geometry, film)`` what another way through the block gives."""
        if run is not None:
            way = partial(run, self, film=film)
        else:
            way = partial(run_block, self, film=film) if fused(x) else partial(self.run, film=film)
        if self.recompute and torch.is_grad_enabled():
            return recomputed(way, self.recompute, x, *geometry)
        return way(x, *geometry)

    def run(self, x: Tensor, *geometry: object, film: Film | None = None) -> Tensor:
        """The block itself."""
        x = x + self.attention(self.norm1(x), *geometry, film=film)
        if torch.is_grad_enabled():
            h = self.norm2(x)
            return x + self.swiglu(h if film is None else film.of_feed_forward(h))
        return by_rows(self.feed_forward, x, *(() if film is None else film.rows_of_feed_forward()))[0]

    def feed_forward(self, x: Tensor, *film: Tensor) -> tuple[Tensor]:
        """x + SwiGLU(RMSNorm(x)), each row for itself; ``film``: scale and shift of each row."""
        h = self.norm2(x)
        return (x + self.swiglu(scaled(h, *film) if film else h),)


class BlockStack(nn.ModuleList):
    """Blocks in sequence, then a norm."""

    def forward(
        self,
        x: Tensor,
        norm: RMSNorm,
        *geometry: object,
        rows: Sequence[int] = (),
        films: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """(S, C) -> (S, C); ``films``: (B, 4, C) for each block, see :class:`.Film`, of clouds of so many ``rows``."""
        conditions = films_of(films, len(self), rows)
        if fused(x):
            return run_blocks(self, x, norm, *geometry, films=conditions)
        for block, film in zip(self, conditions, strict=True):
            x = block(x, *geometry, film=film)
        return norm(x)


class BallTreeStack(nn.ModuleList):
    """Blocks in sequence over one ball tree; odd blocks see the balls of the rotated tree.

    Args:
        blocks: modules called with (S, C) and a :class:`.BallLayout`, which give (S, C).
        rotate: odd blocks use ``tree.rotated``.
        skip_every: after each so many blocks, add the input of those blocks once more; 0 for never.

    Raises:
        ValueError: arguments out of range.
    """

    def __init__(self, blocks: list[nn.Module], *, rotate: bool, skip_every: int = 0):
        super().__init__(blocks)
        check_counts(0, skip_every=skip_every)
        self.rotate = rotate
        self.skip_every = skip_every

    def forward(self, x: Tensor, tree: BallTree, *others: object, films: Sequence[Tensor] | None = None) -> Tensor:
        """(S, C) in tree order -> (S, C) in tree order.

        Args:
            others: go to each block behind the layout.
            films: (B, 4, C) for each block, see :class:`.Film`.
        """
        conditions = films_of(films, len(self), tree.layout.slots)
        if fused(x):
            return run_stack(self, x, tree, *others, films=conditions)
        rotated, skip = False, x
        for i, block in enumerate(self):
            if self.rotate and rotated != bool(i % 2):
                rotated = not rotated
                x = tree.permuted(x, to_rotated=rotated)
            x = block(x, tree.rotated if rotated else tree.layout, *others, film=conditions[i])
            if self.skip_every and (i + 1) % self.skip_every == 0:
                x = x + (tree.permuted(skip, to_rotated=True) if rotated else skip)
                skip = tree.permuted(x, to_rotated=False) if rotated else x
        return tree.permuted(x, to_rotated=False) if rotated else x


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
