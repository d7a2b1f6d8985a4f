"""Native Sparse Attention on a ball tree (Lapautre et al. 2025, sec. 4.1, after Yuan et al. 2025, arXiv 2502.11089).

``S`` slots in tree order, ``C`` channels, ``H`` query heads, ``Hkv`` key/value heads, ``D`` channels a head,
``m`` slots a local ball, ``l`` slots a compressed ball.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.layers.anchors import KeysValues, Memory
from pointcept_bsa.layers.attention import check_counts, distance_weight
from pointcept_bsa.layers.attention_layer import AttentionLayer
from pointcept_bsa.layers.block_pooling import pooling
from pointcept_bsa.layers.fused.attention import attend_native_sparse
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.query_key import QueryKey
from pointcept_bsa.layers.shared_clouds import CoarseKeys, attend_selected
from pointcept_bsa.ops.ball_attention import ball_attention
from pointcept_bsa.ops.block_selection import select_blocks
from pointcept_bsa.ops.dense_attention import dense_attention
from pointcept_bsa.ops.gated_sum import gated_sum

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

    fused_attend = attend_native_sparse

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
        check_counts(channels=dim, num_heads=num_heads, num_kv_heads=num_kv_heads)
        check_counts(compressed_ball_size=compressed_ball_size, num_selected=num_selected)
        if num_heads % num_kv_heads:
            raise ValueError(f"num_kv_heads: got {num_kv_heads}, wanted a divisor of num_heads {num_heads}")
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
        self.pool_k = pooling(phi, self.head_dim, compressed_ball_size)
        self.pool_v = pooling(phi, self.head_dim, compressed_ball_size)
        self.projection = Linear(num_heads * self.head_dim, dim)

    def attend(self, h: Tensor, layout: BallLayout, memory: Memory | None = None) -> Tensor:
        layout.check(block_size=self.compressed_ball_size)
        q = self.query(h).unflatten(-1, (self.num_heads, -1))
        k, v = self.key_value(h).unflatten(-1, (2, self.num_kv_heads, -1)).unbind(-3)
        gate = self.gate(h)
        if self.query_key is not None:
            q, k = self.query_key(q, k, layout.coord)
        k_cmp, v_cmp = self.pool_k(k, layout.valid), self.pool_v(v, layout.valid)
        if memory is not None:
            memory.layers.append(KeysValues(k, v, k_cmp, v_cmp))
        coarse = CoarseKeys(k_cmp, v_cmp, layout)
        local = self.local(q, k, v, layout)
        k_cmp, v_cmp, _ = coarse.wait()
        compressed = self.compression(q, k_cmp, v_cmp, layout)
        selected = self.selection(q, k, v, k_cmp, layout)
        return gated_sum((local, compressed, selected), gate).flatten(-2)

    def local(self, q: Tensor, k: Tensor, v: Tensor, layout: BallLayout) -> Tensor:
        """Attention inside the ball: (S, H, D)."""
        return ball_attention(q, k, v, layout.ball_size, coord=layout.coord, sigma=self.sigma, valid=layout.valid)

    def compression(self, q: Tensor, k_cmp: Tensor, v_cmp: Tensor, layout: BallLayout) -> Tensor:
        """Attention to the coarse keys of the cloud: (S, H, D)."""
        clouds = layout.of_clouds
        return dense_attention(q, k_cmp, v_cmp, layout.slots, clouds.blocks, key_valid=clouds.block_valid)

    def selection(self, q: Tensor, k: Tensor, v: Tensor, k_cmp: Tensor, layout: BallLayout) -> Tensor:
        """Attention to the points of the selected balls: (S, H, D)."""
        chosen = self.select(q, k_cmp, layout)
        return attend_selected(q, k, v, chosen, layout)

    @torch.no_grad()
    def select(self, q: Tensor, k_cmp: Tensor, layout: BallLayout) -> Tensor:
        """Compressed balls selected by each slot: (S, Hkv, num_selected), -1 where there are fewer.

        The mean of dot products is the dot product with the mean: query heads that share a choice are averaged first.
        """
        shared = q.unflatten(1, (self.num_kv_heads, -1)).mean(2)
        clouds = layout.of_clouds
        return select_blocks(
            shared,
            k_cmp,
            layout.slots,
            clouds.blocks,
            self.num_selected,
            balls=clouds.blocks if self.mask_own_ball else None,
            block_valid=clouds.block_valid,
            own=layout.own_units(1, layout.block_size) if self.mask_own_ball else None,
        )
