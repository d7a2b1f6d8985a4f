"""Ball Sparse Attention (Brita et al. 2025, sec. 2.2, eq. 9-15).

``S`` slots in tree order, ``C`` channels, ``H`` heads, ``D`` channels a head, ``m`` slots a ball, ``l`` slots a block,
``g`` slots a query group.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.ops.ball_attention import ball_attention
from pointcept_bsa.ops.block_mlp import block_mlps
from pointcept_bsa.ops.block_pooling import block_mean
from pointcept_bsa.ops.block_selection import select_blocks
from pointcept_bsa.ops.dense_attention import dense_attention
from pointcept_bsa.ops.gated_sum import gated_sum
from pointcept_bsa.ops.selected_attention import selected_attention
from pointcept_bsa.ops.side_streams import SideBySide

from .attention import check_heads, distance_weight
from .attention_layer import AttentionLayer
from .linear import Linear, linear_parts
from .query_key import QueryKey

POOLING = ("mean", "mlp")


class BlockMLP(nn.Module):
    """phi of eq. 5 and 13: the l points of a block, side by side, through an MLP shared by the heads.

    Linear(l D -> 2 l D), ReLU, Linear(2 l D -> D). Empty slots enter as zeros.

    It starts as the mean of the block, which 2 D of the hidden units compute as relu(mean) - relu(-mean); the others
    start at random, unheard. (With small random weights everywhere the coarse keys and values start near zero, so
    that the compression branch and the choice of blocks are idle for the first thousand steps.)
    """

    starts_itself = True

    def __init__(self, head_dim: int, block_size: int):
        super().__init__()
        self.block_size = block_size
        width = head_dim * block_size
        first, last = Linear(width, 2 * width), Linear(2 * width, head_dim)
        self.start_as_mean(first, last, block_size)
        self.mlp = nn.Sequential(first, nn.ReLU(), last)

    @staticmethod
    @torch.no_grad()
    def start_as_mean(first: nn.Linear, last: nn.Linear, block_size: int) -> None:
        """Set the weights so that the MLP is the mean of the block."""
        head_dim = last.out_features
        identity = torch.eye(head_dim)
        mean = identity.repeat(1, block_size) / block_size
        first.weight[: 2 * head_dim] = torch.cat([mean, -mean])
        last.weight.zero_()
        last.weight[:, : 2 * head_dim] = torch.cat([identity, -identity], 1)
        nn.init.zeros_(first.bias)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(S, H, D) -> (S / l, H, D)."""
        return block_mlps([x], [self.weights()], self.block_size, valid)[0]

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those of both layers, and their biases."""
        first, _, last = self.mlp
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        return first.weight, first.bias, last.weight, last.bias


class BlockMean(nn.Module):
    """phi as the mean over the real points of a block: (S, H, D) -> (S / l, H, D)."""

    def __init__(self, block_size: int):
        super().__init__()
        self.block_size = block_size

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        return block_mean(x, self.block_size, valid)


def pool_both(
    pool_k: nn.Module, pool_v: nn.Module, k: Tensor, v: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """pool_k(k) and pool_v(v), with the launches of one where both are MLPs."""
    if not (isinstance(pool_k, BlockMLP) and isinstance(pool_v, BlockMLP)):
        return pool_k(k, valid), pool_v(v, valid)
    k_cmp, v_cmp = block_mlps([k, v], [pool_k.weights(), pool_v.weights()], pool_k.block_size, valid)
    return k_cmp, v_cmp


class BallSparseAttention(AttentionLayer):
    """Three branches, weighed by gates per slot and head: ball, compression, selection.

    h = x + W_pos (pos - ball mean), q, k, v = W_qkv h, out = W_o sum_b sigmoid(W_b h) * branch_b(q, k, v):

    - ball: attention inside the ball with the distance bias (eq. 3);
    - compression: attention to one coarse key and value a block (eq. 5); with ``group_compression`` the queries are
      coarse too and the output is repeated (eq. 15);
    - selection: attention to the points of the ``topk`` blocks that score highest against the group's query
      (eq. 6-8, 11-14), outside the own ball with ``mask_own_ball``. No gradient passes through the choice.

    Args:
        dim: C.
        num_heads: H.
        ball_size, block_size: m and l.
        topk: blocks selected by each group.
        group_size: g, slots that share a selection; 1 is the paper's "without group selection".
        phi: ``"mlp"`` or ``"mean"`` pooling of keys and values.
        query_pooling: ``"mean"`` or ``"mlp"`` (then g must equal l) pooling of the queries.
        group_compression: eq. 15; g must equal l.
        mask_own_ball: no block of the own ball is selected.
        distance_bias: sigma_h * distance in the ball branch.
        dimensionality: space dimensions.
        qk_norm, rotary: queries and keys of all branches normalised, and turned by position with that wavelength; not
            in the paper. See :class:`.QueryKey`.

    Raises:
        ValueError: sizes that do not fit each other; a layout of other balls or blocks.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        ball_size: int = 256,
        block_size: int = 8,
        topk: int = 4,
        group_size: int = 8,
        phi: str = "mlp",
        query_pooling: str = "mean",
        group_compression: bool = False,
        mask_own_ball: bool = True,
        distance_bias: bool = True,
        dimensionality: int = 3,
        qk_norm: bool = False,
        rotary: float | None = None,
    ):
        super().__init__()
        check_heads(dim, num_heads)
        if group_size < 1 or ball_size % group_size:
            raise ValueError(f"group_size: got {group_size}, wanted a divisor of ball_size {ball_size}")
        if topk < 1:
            raise ValueError(f"topk: got {topk}, wanted at least 1")
        for name, value in (("phi", phi), ("query_pooling", query_pooling)):
            if value not in POOLING:
                raise ValueError(f"{name}: got {value!r}, wanted one of {POOLING}")
        if (group_compression or query_pooling == "mlp") and group_size != block_size:
            raise ValueError(
                f"group_size: got {group_size}, wanted block_size {block_size} with group_compression "
                "or query_pooling='mlp'"
            )
        self.num_heads = num_heads
        self.ball_size = ball_size
        self.topk = topk
        self.group_size = group_size
        self.block_size = block_size
        self.group_compression = group_compression
        self.mask_own_ball = mask_own_ball

        self.position = Linear(dimensionality, dim)
        self.qkv = Linear(dim, 3 * dim)
        self.gate = Linear(dim, 3 * num_heads)
        self.query_key = QueryKey.wanted(dim // num_heads, dimensionality, qk_norm, rotary)
        self.sigma = distance_weight(num_heads) if distance_bias else None
        self.pool_k = self._pooling(phi, dim // num_heads, block_size)
        self.pool_v = self._pooling(phi, dim // num_heads, block_size)
        self.pool_q = self._pooling(query_pooling, dim // num_heads, group_size)
        self.projection = Linear(dim, dim)

    @staticmethod
    def _pooling(kind: str, head_dim: int, size: int) -> nn.Module:
        return BlockMLP(head_dim, size) if kind == "mlp" else BlockMean(size)

    def attend(self, h: Tensor, layout: BallLayout) -> Tensor:
        layout.check(self.ball_size, self.block_size)
        head = self.num_heads, h.shape[-1] // self.num_heads
        shapes = head, head, head, (3 * self.num_heads,)
        uses = (4, 3, 3, 1) if self.query_key is None else (1, 1, 3, 1)
        q, k, v, (gate,) = linear_parts(h, [self.qkv, self.gate], shapes, uses)
        if self.query_key is not None:
            q, k = ((x,) * 4 for x in self.query_key(q[0], k[0], layout.coord))
        with SideBySide(h) as branches:
            with branches.aside():
                ball = self.ball(q[1], k[1], v[1], layout)
            k_cmp, v_cmp = pool_both(self.pool_k, self.pool_v, k[0], v[0], layout.valid)
            q_cmp = self.pool_q(q[0], layout.valid) if self.group_size > 1 else q[0]
            with branches.aside():
                selection = self.selection(q[3], k[2], v[2], q_cmp, k_cmp, layout)
            compression = self.compression(q[2], q_cmp, k_cmp, v_cmp, layout)
        return gated_sum((ball, compression, selection), gate).flatten(-2)

    def ball(self, q: Tensor, k: Tensor, v: Tensor, layout: BallLayout) -> Tensor:
        """Attention inside the ball: (S, H, D)."""
        return ball_attention(q, k, v, layout.ball_size, coord=layout.coord, sigma=self.sigma, valid=layout.valid)

    def compression(self, q: Tensor, q_cmp: Tensor, k_cmp: Tensor, v_cmp: Tensor, layout: BallLayout) -> Tensor:
        """Attention to the coarse keys of the cloud: (S, H, D)."""
        if not self.group_compression:
            return dense_attention(q, k_cmp, v_cmp, layout.slots, layout.blocks, key_valid=layout.block_valid)
        coarse = dense_attention(q_cmp, k_cmp, v_cmp, layout.blocks, layout.blocks, key_valid=layout.block_valid)
        return coarse.repeat_interleave(self.block_size, dim=0)

    def selection(self, q: Tensor, k: Tensor, v: Tensor, q_cmp: Tensor, k_cmp: Tensor, layout: BallLayout) -> Tensor:
        """Attention to the selected blocks: (S, H, D)."""
        return selected_attention(q, k, v, self.select(q_cmp, k_cmp, layout), self.block_size, valid=layout.valid)

    def select(self, q_cmp: Tensor, k_cmp: Tensor, layout: BallLayout) -> Tensor:
        """Blocks selected by each group and head: (S / g, H, topk), -1 where there are fewer candidates."""
        groups = tuple(s // self.group_size for s in layout.slots)
        balls = tuple(s // layout.ball_size for s in layout.slots) if self.mask_own_ball else None
        return select_blocks(
            q_cmp, k_cmp, groups, layout.blocks, self.topk, balls=balls, block_valid=layout.block_valid
        )
