"""Native Sparse Attention on a ball tree (Lapautre et al. 2025, sec. 4.1, after Yuan et al. 2025, arXiv 2502.11089).

``S`` slots in tree order, ``C`` channels, ``H`` query heads, ``Hkv`` key/value heads, ``D`` channels a head,
``m`` slots a local ball, ``l`` slots a compressed ball.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.layers.anchors import KeysValues, Memory
from pointcept_bsa.layers.attention import distance_weight
from pointcept_bsa.layers.attention_layer import AttentionLayer
from pointcept_bsa.layers.block_pooling import POOLING, BlockMean, BlockMLP, pool_both
from pointcept_bsa.layers.linear import Linear, linear_parts
from pointcept_bsa.layers.query_key import QueryKey
from pointcept_bsa.ops.ball_attention import ball_attention
from pointcept_bsa.ops.block_selection import select_blocks
from pointcept_bsa.ops.dense_attention import dense_attention
from pointcept_bsa.ops.gated_sum import gated_sum
from pointcept_bsa.ops.selected_attention import selected_attention
from pointcept_bsa.ops.side_streams import SideBySide

MIN_HEAD_DIM = 16


class NativeSparseAttention(AttentionLayer):
    """Three branches, weighed by gates per slot and head: local, compressed, selected.

    h = x + W_pos (pos - ball mean), q = W_q h with H heads, k, v = W_kv h with Hkv heads of D = max(16, C / H)
    channels, out = W_o sum_b sigmoid(W_b h) * branch_b(q, k, v):

    - local: attention inside the ball of m slots, with the distance bias of Erwin and trainable sigma;
    - compressed: attention to one coarse key and value for each ball of l slots of the cloud;
    - selected: each point attends to all points of the ``num_selected`` compressed balls that score highest. The
      score is <q, coarse key>, averaged over the H / Hkv query heads of a key/value head, which share the choice. No
      gradient passes through it. A cloud of fewer balls gives those it has.

    Nothing is causal and nothing crosses clouds. The layout must have blocks of l slots.

    Args:
        dim: C.
        num_heads, num_kv_heads: H and Hkv, a divisor of H.
        compressed_ball_size: l.
        num_selected: compressed balls selected by each point.
        phi: ``"mean"`` or ``"mlp"`` pooling of keys and values.
        mask_own_ball: a point's own compressed ball cannot be selected (the paper allows it).
        distance_bias: sigma_h * distance in the local branch.
        dimensionality: space dimensions.
        qk_norm, rotary: queries and keys of all branches normalised, and turned by position with that wavelength; not
            in the paper. See :class:`.QueryKey`.

    Raises:
        ValueError: sizes that do not fit each other; a layout of other blocks.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 16,
        num_kv_heads: int = 1,
        compressed_ball_size: int = 32,
        num_selected: int = 16,
        phi: str = "mean",
        mask_own_ball: bool = False,
        distance_bias: bool = True,
        dimensionality: int = 3,
        qk_norm: bool = False,
        rotary: float | None = None,
    ):
        super().__init__()
        if num_kv_heads < 1 or num_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(f"num_kv_heads: got {num_kv_heads}, wanted a divisor of num_heads {num_heads}")
        if num_selected < 1:
            raise ValueError(f"num_selected: got {num_selected}, wanted at least 1")
        if phi not in POOLING:
            raise ValueError(f"phi: got {phi!r}, wanted one of {POOLING}")
        self.head_dim = max(MIN_HEAD_DIM, dim // num_heads)
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.compressed_ball_size = compressed_ball_size
        self.num_selected = num_selected
        self.mask_own_ball = mask_own_ball

        self.position = Linear(dimensionality, dim)
        self.query = Linear(dim, num_heads * self.head_dim)
        self.key_value = Linear(dim, 2 * num_kv_heads * self.head_dim)
        self.gate = Linear(dim, 3 * num_heads)
        self.query_key = QueryKey.wanted(self.head_dim, dimensionality, qk_norm, rotary)
        self.sigma = distance_weight(num_heads) if distance_bias else None
        self.pool_k = self._pooling(phi)
        self.pool_v = self._pooling(phi)
        self.projection = Linear(num_heads * self.head_dim, dim)

    def _pooling(self, phi: str) -> nn.Module:
        size = self.compressed_ball_size
        return BlockMLP(self.head_dim, size) if phi == "mlp" else BlockMean(size)

    def attend(self, h: Tensor, layout: BallLayout, memory: Memory | None = None) -> Tensor:
        layout.check(block_size=self.compressed_ball_size)
        kv = self.num_kv_heads, self.head_dim
        shapes = (self.num_heads, self.head_dim), kv, kv, (3 * self.num_heads,)
        layers = self.query, self.key_value, self.gate
        uses = (3, 3, 3, 1) if self.query_key is None else (1, 1, 3, 1)
        q, k, v, (gate,) = linear_parts(h, layers, shapes, uses)
        if self.query_key is not None:
            q, k = ((x,) * 3 for x in self.query_key(q[0], k[0], layout.coord))
        with SideBySide(h) as branches:
            with branches.aside():
                bias = dict(coord=layout.coord, sigma=self.sigma)
                local = ball_attention(q[0], k[1], v[1], layout.ball_size, valid=layout.valid, **bias)
            k_cmp, v_cmp = pool_both(self.pool_k, self.pool_v, k[0], v[0], layout.valid)
            if memory is not None:
                memory.layers.append(KeysValues(k[2], v[2], k_cmp, v_cmp))
            with branches.aside():
                chosen = self.select(q[2], k_cmp, layout)
                selected = selected_attention(q[2], k[2], v[2], chosen, self.compressed_ball_size, valid=layout.valid)
            coarse = dense_attention(q[1], k_cmp, v_cmp, layout.slots, layout.blocks, key_valid=layout.block_valid)
        return gated_sum((local, coarse, selected), gate).flatten(-2)

    @torch.no_grad()
    def select(self, q: Tensor, k_cmp: Tensor, layout: BallLayout) -> Tensor:
        """Compressed balls selected by each slot: (S, Hkv, num_selected), -1 where there are fewer.

        The mean of dot products is the dot product with the mean: query heads that share a choice are averaged first.
        """
        shared = q.unflatten(1, (self.num_kv_heads, -1)).mean(2)
        own = layout.blocks if self.mask_own_ball else None
        return select_blocks(
            shared, k_cmp, layout.slots, layout.blocks, self.num_selected, balls=own, block_valid=layout.block_valid
        )
