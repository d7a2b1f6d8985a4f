"""Stacks of transformer blocks, between which nothing but a residual stream is passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.fused.residual import Residual
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.ops.side_streams import wait_for_deferred

if TYPE_CHECKING:
    from pointcept_bsa.layers.conditioning import Film
    from pointcept_bsa.layers.transformer import BallTreeStack, BlockStack


def run_blocks(blocks: BlockStack, x: Tensor, norm: RMSNorm, *geometry: Any, films: Sequence[Film | None]) -> Tensor:
    """norm(blocks(x, ...)): (S, C) -> (S, C)."""
    stream = Residual(x)
    for block, film in zip(blocks, films, strict=True):
        stream = block(stream, *geometry, film=film)
    return stream.normed(norm)[1]


def run_stack(stack: BallTreeStack, x: Tensor, tree: BallTree, *others: Any, films: Sequence[Film | None]) -> Tensor:
    """stack(x, tree): reordering is done by the norm that comes next."""
    rotated = False
    skip, stream = x, Residual(x)
    for i, block in enumerate(stack):
        if stack.rotate and rotated != bool(i % 2):
            rotated = not rotated
            stream = stream.permuted(tree, to_rotated=rotated)
        stream = block(stream, tree.rotated if rotated else tree.layout, *others, film=films[i])
        if stack.skip_every and (i + 1) % stack.skip_every == 0:
            x = stream.total() + (tree.permuted(skip, to_rotated=True) if rotated else skip)
            skip, stream = tree.permuted(x, to_rotated=False) if rotated else x, Residual(x)
    # Lists of selections that the blocks have deferred: done here at the latest, whether a backward pass asks or not.
    wait_for_deferred(x)
    return (stream.permuted(tree, to_rotated=False) if rotated else stream).total()
