"""The transformer block that all networks here share, and its stack over a ball tree.

``S`` slots in tree order, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree
from pointcept_bsa.ops.silu_product import silu_halves, silu_product

from .linear import Linear, joined_linear, worth_joining
from .norm import RMSNorm
from .permute import permute

ROWS_AT_ONCE = 1 << 16  # of what acts on each slot alone, where no gradient is wanted


class SwiGLU(nn.Module):
    """w3(w2 x * silu(w1 x)) (Shazeer 2020, arXiv 2002.05202): (..., C) -> (..., C)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.w1 = Linear(dim, hidden)
        self.w2 = Linear(dim, hidden)
        self.w3 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        if worth_joining(x, self.w1, self.w2):
            return self.w3(silu_halves(*joined_linear(x, self.w1, self.w2)))
        return self.w3(silu_product(self.w1(x), self.w2(x)))


class TransformerBlock(nn.Module):
    """x += attention(RMSNorm(x)); x += SwiGLU(RMSNorm(x)).

    Args:
        attention: module called with (S, C), whatever else the block is called with, and ``norm``, the RMSNorm that
            it applies first.
        dim: C.
        mlp_ratio: hidden width of the SwiGLU over C.
        checkpoint: in training keep only the block's input for the backward pass, and compute the rest again there:
            less memory, one more forward pass. The block must draw nothing at random.

    Without gradients the SwiGLU, whose hidden values are the largest there are, takes ``ROWS_AT_ONCE`` slots at a time.
    """

    shard_unit = True  # what a host that shards parameters over processes shards as one

    def __init__(self, attention: nn.Module, dim: int, mlp_ratio: int = 4, checkpoint: bool = False):
        super().__init__()
        self.checkpoint = checkpoint
        self.norm1 = RMSNorm(dim)
        self.attention = attention
        self.norm2 = RMSNorm(dim)
        self.swiglu = SwiGLU(dim, dim * mlp_ratio)

    def forward(self, x: Tensor, *geometry: object) -> Tensor:
        if self.checkpoint and torch.is_grad_enabled():
            return recompute(self.run, x, *geometry, use_reentrant=False, preserve_rng_state=False)
        return self.run(x, *geometry)

    def run(self, x: Tensor, *geometry: object) -> Tensor:
        """The block itself."""
        return by_rows(self.feed_forward, x, self.attention(x, *geometry, norm=self.norm1))

    def feed_forward(self, x: Tensor, a: Tensor) -> Tensor:
        """x + a, and SwiGLU(RMSNorm(x + a)) added to it, each row for itself."""
        x, normed = self.norm2.of_sum(x, a)
        return x + self.swiglu(normed)


def by_rows(function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """``function(x, *others)`` of the shape and type of x, which treats each row for itself; in parts if no gradient is
    wanted.

    The same numbers (a matrix product of another height may round otherwise), less memory.
    """
    if torch.is_grad_enabled() or x.shape[0] <= ROWS_AT_ONCE:
        return function(x, *others)
    out = torch.empty_like(x)
    for result, *parts in zip(*(t.split(ROWS_AT_ONCE) for t in (out, x, *others)), strict=True):
        result.copy_(function(*parts))
    return out


class BallTreeStack(nn.ModuleList):
    """Blocks in sequence over one ball tree; odd blocks see the balls of the rotated tree.

    Args:
        blocks: modules called with (S, C) and a :class:`BallLayout`.
        rotate: odd blocks use ``tree.rotated``.
        skip_every: after each so many blocks, add the input of those blocks once more; 0 for never.
    """

    def __init__(self, blocks: list[nn.Module], *, rotate: bool, skip_every: int = 0):
        super().__init__(blocks)
        self.rotate = rotate
        self.skip_every = skip_every

    def forward(self, x: Tensor, tree: BallTree) -> Tensor:
        """(S, C) in tree order -> (S, C) in tree order."""
        rotated = False
        skip = x
        for i, block in enumerate(self):
            if self.rotate and rotated != bool(i % 2):
                x = turn(x, tree, to_rotated=not rotated)
                rotated = not rotated
            layout: BallLayout | None = tree.rotated if rotated else tree.layout
            x = block(x, layout)
            if self.skip_every and (i + 1) % self.skip_every == 0:
                x = x + (turn(skip, tree, to_rotated=True) if rotated else skip)
                skip = turn(x, tree, to_rotated=False) if rotated else x
        return turn(x, tree, to_rotated=False) if rotated else x


def turn(x: Tensor, tree: BallTree, *, to_rotated: bool) -> Tensor:
    """Reorder (S, C) between the main and the rotated tree."""
    there, back = tree.rotation, tree.rotation_inverse
    if there is None or back is None:
        raise ValueError("tree: got one without rotation, wanted BallTree.build(..., rotate=degrees)")
    return permute(x, there, back) if to_rotated else permute(x, back, there)


def init_weights(module: nn.Module) -> None:
    """Truncated normal of std 0.02 for linear weights, zero biases (Erwin's initialisation).

    Modules with a beginning of their own (``starts_itself``) are left as they are.
    """
    for child in module.children():
        if not getattr(child, "starts_itself", False):
            init_weights(child)
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
