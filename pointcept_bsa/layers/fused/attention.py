"""Attention layers whose projections are one matrix product and whose branches run side by side.

``S`` slots or points, ``C`` channels, ``H`` heads, ``D`` channels a head. Each function stands beside the ``attend`` of
its layer; several views of a part are for gradients that are added up in one pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.layers.anchors import KeysValues, Memory
from pointcept_bsa.layers.block_pooling import pool_both
from pointcept_bsa.layers.fused.linear import Summand, linear_parts, summand
from pointcept_bsa.layers.fused.residual import Normed
from pointcept_bsa.layers.shared_clouds import CoarseKeys, attend_selected, begin_selection
from pointcept_bsa.ops.gated_sum import gated_sum
from pointcept_bsa.ops.side_streams import SideBySide

if TYPE_CHECKING:
    from pointcept_bsa.layers.attention import BallAttention, FullAttention
    from pointcept_bsa.layers.attention_layer import AttentionLayer
    from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
    from pointcept_bsa.layers.conditioning import Film
    from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention


def attention(layer: AttentionLayer, x: Tensor | Normed, *geometry: Any, film: Film | None = None) -> Tensor | Summand:
    """layer(x, ...); in a block, which has added the position and applied the film already, as a summand."""
    if isinstance(x, Normed):
        return summand(layer.projection, layer.fused_attend(x.h, *geometry))
    h = layer.with_position(x, *geometry)
    return layer.projection(layer.fused_attend(h if film is None else film.of_attention(h), *geometry))


def attend_heads(layer: BallAttention | FullAttention, h: Tensor, *geometry: Any) -> Tensor:
    """Of layers with one kind of attention: (S, C) -> (S, C)."""
    head = layer.num_heads, h.shape[-1] // layer.num_heads
    (q,), (k,), (v,) = linear_parts(h, [layer.qkv], [head] * 3, (1, 1, 1))
    return layer.attention(q, k, v, *geometry)


def attend_ball_sparse(
    layer: BallSparseAttention, h: Tensor, layout: BallLayout, memory: Memory | None = None
) -> Tensor:
    """The three branches of BSA and their gates: (S, C) -> (S, C)."""
    layout.check(layer.ball_size, layer.block_size)
    head = layer.num_heads, h.shape[-1] // layer.num_heads
    shapes = head, head, head, (3 * layer.num_heads,)
    # How often each part is read below. Each reader has a view of its own, so that the gradients of all are added up in
    # one pass; with ``query_key`` it alone reads q and k, and autograd adds up what comes back to its results.
    uses = (4, 3, 3, 1) if layer.query_key is None else (1, 1, 3, 1)
    q, k, v, (gate,) = linear_parts(h, [layer.qkv, layer.gate], shapes, uses)
    if layer.query_key is not None:
        q, k = ((x,) * 4 for x in layer.query_key(q[0], k[0], layout.coord))
    with SideBySide(h) as branches:
        if not layout.is_part:
            with branches.side_stream():
                ball = layer.ball(q[1], k[1], v[1], layout)
        k_cmp, v_cmp = pool_both(layer.pool_k, layer.pool_v, k[0], v[0], layout.valid)
        q_cmp = layer.pool_q(q[0], layout.valid) if layer.group_size > 1 else q[0]
        coarse = CoarseKeys(k_cmp, v_cmp, layout, layer.levels)
        # Of a part the ball branch is what the device does meanwhile: while the blocks are on their way, or, with the
        # few tokens of levels, while the host waits for what the others want, and begins what follows.
        meanwhile = layout.is_part and coarse.levels is None
        if meanwhile:
            ball = layer.ball(q[1], k[1], v[1], layout)
        k_cmp, v_cmp, tokens = coarse.wait()
        if memory is not None:
            memory.layers.append(KeysValues(k[2], v[2], k_cmp, v_cmp, tokens))
        with branches.side_stream():
            chosen = begin_selection(layer.select(q_cmp, k_cmp, layout, tokens), layout)
            if not layout.is_part:
                selection = attend_selected(q[3], k[2], v[2], chosen, layout)
        compression = layer.compression(q[2], q_cmp, k_cmp, v_cmp, layout, tokens)
        if layout.is_part:
            if not meanwhile:
                ball = layer.ball(q[1], k[1], v[1], layout)
            selection = attend_selected(q[3], k[2], v[2], chosen, layout)
    return gated_sum((ball, compression, selection), gate).flatten(-2)


def attend_native_sparse(
    layer: NativeSparseAttention, h: Tensor, layout: BallLayout, memory: Memory | None = None
) -> Tensor:
    """The three branches of NSA and their gates: (S, C) -> (S, H D)."""
    layout.check(block_size=layer.compressed_ball_size)
    kv = layer.num_kv_heads, layer.head_dim
    shapes = (layer.num_heads, layer.head_dim), kv, kv, (3 * layer.num_heads,)
    layers = layer.query, layer.key_value, layer.gate
    # How often each part is read below, as in BSA. The choice of blocks has no gradient: it shares a view of q.
    uses = (3, 3, 3, 1) if layer.query_key is None else (1, 1, 3, 1)
    q, k, v, (gate,) = linear_parts(h, layers, shapes, uses)
    if layer.query_key is not None:
        q, k = ((x,) * 3 for x in layer.query_key(q[0], k[0], layout.coord))
    with SideBySide(h) as branches:
        if not layout.is_part:
            with branches.side_stream():
                local = layer.local(q[0], k[1], v[1], layout)
        k_cmp, v_cmp = pool_both(layer.pool_k, layer.pool_v, k[0], v[0], layout.valid)
        if memory is not None:
            memory.layers.append(KeysValues(k[2], v[2], k_cmp, v_cmp))
        coarse = CoarseKeys(k_cmp, v_cmp, layout)
        if layout.is_part:  # while the blocks are on their way
            local = layer.local(q[0], k[1], v[1], layout)
        k_cmp, v_cmp, _ = coarse.wait()
        with branches.side_stream():
            chosen = begin_selection(layer.select(q[2], k_cmp, layout), layout)
            if not layout.is_part:
                selected = attend_selected(q[2], k[2], v[2], chosen, layout)
        compressed = layer.compression(q[1], k_cmp, v_cmp, layout)
        if layout.is_part:  # the device has work while the host waits for what the others want
            selected = attend_selected(q[2], k[2], v[2], chosen, layout)
    return gated_sum((local, compressed, selected), gate).flatten(-2)
