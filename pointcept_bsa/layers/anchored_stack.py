"""Blocks through which queries go behind the anchors.

``Q`` queries, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from pointcept_bsa.layers.anchored_attention import decode_ball_sparse, decode_full, decode_native_sparse
from pointcept_bsa.layers.anchors import CloudQueryPositions, KeysValues, Memory, QueryPositions
from pointcept_bsa.layers.attention import FullAttention
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.conditioning import Film
from pointcept_bsa.layers.fused.residual import norm_with_position
from pointcept_bsa.layers.fused.switch import fused
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.transformer import BallTreeStack, TransformerBlock

Films = Sequence[Tensor] | None
DECODERS: dict[type, Any] = {
    FullAttention: decode_full,
    BallSparseAttention: decode_ball_sparse,
    NativeSparseAttention: decode_native_sparse,
}


def decode_block(
    block: TransformerBlock,
    x: Tensor,
    positions: QueryPositions | CloudQueryPositions,
    kept: KeysValues,
    film: Film | None = None,
) -> Tensor:
    """x += attention(RMSNorm(x)) to the anchors; x += SwiGLU(RMSNorm(x)): (Q, C) -> (Q, C).

    A ``film`` scales and shifts what both layers take, as in :class:`.TransformerBlock`.
    """
    layer = block.attention
    if fused(x):
        h = norm_with_position(x, block.norm1, positions.relative, layer.position)
    else:
        h = block.norm1(x) + layer.position(positions.relative)
    if film is not None:
        h = film.of_attention(h)
    x = x + layer.projection(DECODERS[type(layer)](layer, h, positions, kept))
    h = block.norm2(x)
    if film is not None:
        h = film.of_feed_forward(h)
    return x + block.swiglu(h)


def decode_blocks(
    blocks: Iterable[nn.Module], x: Tensor, positions: CloudQueryPositions, memory: Memory, films: Films = None
) -> Tensor:
    """Blocks in sequence: (Q, C) -> (Q, C). ``films``: (B, 4, C) for each block."""
    for i, (block, kept) in enumerate(zip(blocks, memory.layers, strict=True)):
        x = block(x, positions, kept, run=decode_block, film=_film(films, i, positions))
    return x


def decode_stack(
    blocks: BallTreeStack,
    x: Tensor,
    positions: tuple[QueryPositions, QueryPositions | None],
    memory: Memory,
    films: Films = None,
) -> Tensor:
    """The blocks of a stack over a tree, odd ones in the balls of the rotated tree: (Q, C) -> (Q, C)."""
    main, rotated = positions
    skip = x
    for i, (block, kept) in enumerate(zip(blocks, memory.layers, strict=True)):
        own = rotated if blocks.rotate and i % 2 else main
        assert own is not None
        x = block(x, own, kept, run=decode_block, film=_film(films, i, own))
        if blocks.skip_every and (i + 1) % blocks.skip_every == 0:
            skip = x = x + skip
    return x


def _film(films: Films, block: int, positions: QueryPositions | CloudQueryPositions) -> Film | None:
    return None if films is None else Film(films[block], positions.lengths)
