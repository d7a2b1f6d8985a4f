"""Attention layers: ball attention (Erwin) and full attention.

``S`` slots in tree order, ``N`` points, ``C`` channels, ``H`` heads, ``d`` space dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.geometry.tree_plan import as_lengths
from pointcept_bsa.layers.anchors import KeysValues, Memory
from pointcept_bsa.layers.attention_layer import AttentionLayer
from pointcept_bsa.layers.fused.attention import attend_heads
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.query_key import QueryKey
from pointcept_bsa.layers.shared_clouds import SharedPoints
from pointcept_bsa.ops.ball_attention import ball_attention
from pointcept_bsa.ops.dense_attention import dense_attention


def check_heads(dim: int, num_heads: int) -> None:
    """Raise ValueError unless the heads divide the channels."""
    check_counts(channels=dim, num_heads=num_heads)
    if dim % num_heads:
        raise ValueError(f"num_heads: got {num_heads}, wanted a divisor of the {dim} channels")


def check_counts(least: int = 1, /, **counts: int) -> None:
    """Raise ValueError unless all of them are integers of at least ``least``."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ValueError(f"{name}: got {count!r}, wanted an integer of at least {least}")


def distance_weight(num_heads: int) -> nn.Parameter:
    """sigma of the distance bias, (H,): -1 with a little noise, so that heads start local and not alike."""
    return nn.Parameter(-1 + 0.01 * torch.randn(num_heads))


class BallAttention(AttentionLayer):
    """Multi-head attention inside balls with relative positions and distance bias (Erwin eq. 8-10).

    h = x + W_pos (pos - ball mean); q, k, v = W_qkv h; softmax(q k^T / sqrt(D) + sigma_h distance) v; projection.
    ``qk_norm`` and ``rotary``, not in the paper: see :class:`.QueryKey`.
    """

    fused_attend = attend_heads

    def __init__(
        self,
        dim: int,
        num_heads: int,
        dimensionality: int = 3,
        *,
        distance_bias: bool = True,
        qk_norm: bool = False,
        rotary: float | None = None,
    ):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.position = Linear(dimensionality, dim)
        self.qkv = Linear(dim, 3 * dim)
        self.query_key = QueryKey.wanted(dim // num_heads, dimensionality, qk_norm, rotary)
        self.sigma = distance_weight(num_heads) if distance_bias else None
        self.projection = Linear(dim, dim)

    def attend(self, h: Tensor, layout: BallLayout) -> Tensor:
        q, k, v = self.qkv(h).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        return self.attention(q, k, v, layout)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, layout: BallLayout) -> Tensor:
        """Queries, keys and values (S, H, D) -> (S, C)."""
        if self.query_key is not None:
            q, k = self.query_key(q, k, layout.coord)
        out = ball_attention(q, k, v, layout.ball_size, coord=layout.coord, sigma=self.sigma, valid=layout.valid)
        return out.flatten(-2)


class FullAttention(AttentionLayer):
    """Multi-head attention of every point to every point of its cloud, with absolute positions.

    h = x + W_pos (pos - cloud mean); q, k, v = W_qkv h; softmax(q k^T / sqrt(D)) v; projection.
    ``qk_norm`` and ``rotary``: see :class:`.QueryKey`.
    """

    fused_attend = attend_heads

    def __init__(
        self, dim: int, num_heads: int, dimensionality: int = 3, *, qk_norm: bool = False, rotary: float | None = None
    ):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.position = Linear(dimensionality, dim)
        self.qkv = Linear(dim, 3 * dim)
        self.query_key = QueryKey.wanted(dim // num_heads, dimensionality, qk_norm, rotary)
        self.projection = Linear(dim, dim)

    def relative_position(self, *geometry: Any) -> Tensor:
        centred: Tensor = geometry[0]
        return centred

    def attend(self, h: Tensor, *geometry: Any) -> Tensor:
        q, k, v = self.qkv(h).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        return self.attention(q, k, v, *geometry)

    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        centred: Tensor,
        lengths: Sequence[int],
        valid: Tensor | None = None,
        memory: Memory | None = None,
        shared: SharedPoints | None = None,
    ) -> Tensor:
        """(N, H, D) each, (N, d) positions relative to the cloud's mean, points of each cloud -> (N, C).

        ``shared`` knows of the points of the same clouds that other processes have. Nobody attends to points that are
        not ``valid`` (N,). Raises ValueError for lengths of other points.
        """
        lengths = as_lengths(lengths, len(q))
        if self.query_key is not None:
            q, k = self.query_key(q, k, centred)
        if memory is not None:
            memory.layers.append(KeysValues(k, v))
        keys = lengths
        if shared is not None:
            keys, (k, v) = shared.whole, shared.keys_values(k, v)
        return dense_attention(q, k, v, lengths, keys, key_valid=valid).flatten(-2)
