"""Attention of queries to anchors, with the parameters of the layer that encoded them.

Queries attend to what the anchors attend to: the anchors of the ball into which a query falls, all coarse keys (of
several levels those that the anchors there see), the selected blocks. Two things differ. A query is not among the keys;
and it selects blocks for itself (a group of its own, where ``query_pooling="mlp"`` or ``group_compression`` of so many
copies of it), where anchors share a selection.

``Q`` queries, ``S`` slots of anchors, ``C`` channels, ``H`` heads, ``D`` channels a head.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.layers.anchors import CloudQueryPositions, KeysValues, QueryPositions
from pointcept_bsa.layers.attention import FullAttention
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.block_pooling import BlockMLP
from pointcept_bsa.layers.fused import linear as fused_linear
from pointcept_bsa.layers.fused.switch import fused
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.query_key import QueryKey
from pointcept_bsa.ops.ball_attention.queries import query_ball_attention
from pointcept_bsa.ops.block_selection import select_blocks
from pointcept_bsa.ops.dense_attention import dense_attention
from pointcept_bsa.ops.gated_sum import gated_sum
from pointcept_bsa.ops.selected_attention import selected_attention


def decode_full(layer: FullAttention, h: Tensor, positions: CloudQueryPositions, kept: KeysValues) -> Tensor:
    """Attention to all anchors of the cloud: (Q, C) -> (Q, C) before the projection."""
    q = queries(layer, h, positions)
    return dense_attention(q, kept.k, kept.v, positions.lengths, positions.anchors).flatten(-2)


def decode_ball_sparse(layer: BallSparseAttention, h: Tensor, positions: QueryPositions, kept: KeysValues) -> Tensor:
    """The three branches of BSA and their gates: (Q, C) -> (Q, C) before the projection."""
    layout, (k_cmp, v_cmp) = positions.layout, kept.coarse
    q = queries(layer, h, positions)
    q_cmp = alone(layer.pool_q, q)
    ball = attend_ball(q, kept, positions, layer.sigma)
    coarse = q_cmp if layer.group_compression else q
    if kept.tokens is not None and positions.near is not None and layer.levels is not None:
        compression = positions.near.attend(coarse, kept.tokens)
        chosen = layer.levels.select(q_cmp, kept.tokens, 1, layer.mask_own_ball, positions.lengths, positions.ball)
    else:
        compression = dense_attention(
            coarse, k_cmp, v_cmp, positions.lengths, layout.blocks, key_valid=layout.block_valid
        )
        balls = tuple(s // layout.ball_size for s in layout.slots) if layer.mask_own_ball else None
        chosen = select(q_cmp, k_cmp, positions, layer.topk, balls, positions.ball)
    selection = attend_selected(q, kept, chosen, positions)
    return gated_sum((ball, compression, selection), layer.gate(h)).flatten(-2)


def decode_native_sparse(
    layer: NativeSparseAttention, h: Tensor, positions: QueryPositions, kept: KeysValues
) -> Tensor:
    """The three branches of NSA and their gates: (Q, C) -> (Q, H D) before the projection."""
    layout, (k_cmp, v_cmp) = positions.layout, kept.coarse
    q = with_query_key(layer.query(h).unflatten(-1, (layer.num_heads, -1)), layer.query_key, positions)
    local = attend_ball(q, kept, positions, layer.sigma)
    coarse = dense_attention(q, k_cmp, v_cmp, positions.lengths, layout.blocks, key_valid=layout.block_valid)
    shared = q.unflatten(1, (layer.num_kv_heads, -1)).mean(2)
    own = layout.blocks if layer.mask_own_ball else None  # of a query: the compressed ball into which it falls
    chosen = select(shared, k_cmp, positions, layer.num_selected, own, positions.block)
    selected = attend_selected(q, kept, chosen, positions)
    return gated_sum((local, coarse, selected), layer.gate(h)).flatten(-2)


def queries(
    layer: FullAttention | BallSparseAttention, h: Tensor, positions: QueryPositions | CloudQueryPositions
) -> Tensor:
    """Those of keys, queries and values in one map, as attention gets them: (Q, C) -> (Q, H, D)."""
    q = first_columns(layer.qkv, h, h.shape[-1]).unflatten(-1, (layer.num_heads, -1))
    return with_query_key(q, layer.query_key, positions)


def first_columns(layer: Linear, x: Tensor, columns: int) -> Tensor:
    """The first ``columns`` of layer(x): the queries of keys, queries and values."""
    if fused(x):
        return fused_linear.first_columns(layer, x, columns)
    return F.linear(x, layer.weight[:columns], layer.bias[:columns])


def with_query_key(q: Tensor, query_key: QueryKey | None, positions: QueryPositions | CloudQueryPositions) -> Tensor:
    """Queries (Q, H, D) as attention gets them."""
    return q if query_key is None else query_key(q, q[:, :1], positions.coord)[0]


def alone(pool: nn.Module, q: Tensor) -> Tensor:
    """What pools the queries of a group, of queries (Q, H, D) that are alone in theirs: their mean is the query."""
    return (
        pool(q.repeat_interleave(pool.block_size, 0), None) if isinstance(pool, BlockMLP) and pool.block_size > 1 else q
    )


def attend_ball(q: Tensor, kept: KeysValues, positions: QueryPositions, sigma: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D) + sigma_h |x - x_j|) v over the anchors of the ball: (Q, H, D)."""
    layout, tiles = positions.layout, positions.tiles
    q, at = tiles.spread(q), tiles.spread(positions.coord)
    bias = dict(at=at, coord=layout.coord, sigma=sigma, valid=layout.valid)
    return tiles.collect(query_ball_attention(q, kept.k, kept.v, tiles.ball, layout.ball_size, **bias))


def select(
    q: Tensor, k_cmp: Tensor, positions: QueryPositions, topk: int, masked: tuple[int, ...] | None, own: Tensor
) -> Tensor:
    """The blocks with the largest <q, k>, for each query alone: (Q, Hkv, topk), -1 where there are fewer.

    None of its own unit, where there are ``masked`` units a cloud, and ``own`` (Q,) is that of each query.
    """
    layout = positions.layout
    return select_blocks(
        q,
        k_cmp,
        positions.lengths,
        layout.blocks,
        topk,
        balls=masked,
        block_valid=layout.block_valid,
        own=None if masked is None else own,
    )


def attend_selected(q: Tensor, kept: KeysValues, chosen: Tensor, positions: QueryPositions) -> Tensor:
    """Attention to the anchors of the chosen blocks (Q, Hkv, K): (Q, H, D)."""
    k, v, valid, size = kept.k, kept.v, positions.layout.valid, positions.layout.block_size
    if valid is not None and len(valid) == len(q):  # taken for the slots of the queries: an empty block more
        k, v, valid = (F.pad(x, (*(0, 0) * (x.dim() - 1), 0, size)) for x in (k, v, valid))
    return selected_attention(q, k, v, chosen, size, valid=valid)
