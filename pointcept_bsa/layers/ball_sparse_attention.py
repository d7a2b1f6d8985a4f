"""Ball Sparse Attention (Brita et al. 2025, sec. 2.2, eq. 9-15).

``S`` slots in tree order, ``C`` channels, ``H`` heads, ``D`` channels a head, ``m`` slots a ball, ``l`` slots a block,
``g`` slots a query group.
"""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.geometry.token_tree import TokenSizes
from pointcept_bsa.ops.ball_attention import ball_attention
from pointcept_bsa.ops.block_selection import select_blocks
from pointcept_bsa.ops.dense_attention import dense_attention
from pointcept_bsa.ops.gated_sum import gated_sum

from .anchors import KeysValues, Memory
from .attention import check_counts, check_heads, distance_weight
from .attention_layer import AttentionLayer
from .block_pooling import check_pooling, pooling
from .fused.attention import attend_ball_sparse
from .linear import Linear
from .query_key import QueryKey
from .shared_clouds import CoarseKeys, attend_selected
from .token_levels import TokenLevels, Tokens


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
        near, fan: not None: compression over levels of tokens in O(N log N), see :class:`.TokenLevels`, and selection
            by descent; not in the paper.
        beam: tokens of each level whose children the descent looks at; see :meth:`.TokenLevels.select`.
        levels_beyond: clouds of at most so many slots have one level, at least ``near``; None: ``near``.

    Raises:
        ValueError: sizes that do not fit each other; a layout of other balls or blocks.
    """

    fused_attend = attend_ball_sparse

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
        near: int | None = None,
        fan: int = 8,
        beam: int = 8,
        levels_beyond: int | None = None,
    ):
        super().__init__()
        check_heads(dim, num_heads)
        check_counts(ball_size=ball_size, block_size=block_size, group_size=group_size, topk=topk)
        if near is not None:
            check_counts(near=near, fan=fan, beam=beam)
        if ball_size % group_size:
            raise ValueError(f"group_size: got {group_size}, wanted a divisor of ball_size {ball_size}")
        check_pooling(phi=phi, query_pooling=query_pooling)
        if (group_compression or query_pooling == "mlp") and group_size != block_size:
            raise ValueError(
                f"group_size: got {group_size}, wanted block_size {block_size} with group_compression "
                "or query_pooling='mlp'"
            )
        sizes = TokenSizes.wanted(block_size, near, fan, levels_beyond)
        self.levels = None if sizes is None else TokenLevels(dim // num_heads, sizes, beam=beam, topk=topk, phi=phi)
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
        self.pool_k = pooling(phi, dim // num_heads, block_size)
        self.pool_v = pooling(phi, dim // num_heads, block_size)
        self.pool_q = pooling(query_pooling, dim // num_heads, group_size)
        self.projection = Linear(dim, dim)

    def attend(self, h: Tensor, layout: BallLayout, memory: Memory | None = None) -> Tensor:
        layout.check(self.ball_size, self.block_size)
        q, k, v = self.qkv(h).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        gate = self.gate(h)
        if self.query_key is not None:
            q, k = self.query_key(q, k, layout.coord)
        k_cmp, v_cmp = self.pool_k(k, layout.valid), self.pool_v(v, layout.valid)
        q_cmp = self.pool_q(q, layout.valid) if self.group_size > 1 else q
        coarse = CoarseKeys(k_cmp, v_cmp, layout, self.levels)
        ball = self.ball(q, k, v, layout)
        k_cmp, v_cmp, tokens = coarse.wait()
        if memory is not None:
            memory.layers.append(KeysValues(k, v, k_cmp, v_cmp, tokens))
        compression = self.compression(q, q_cmp, k_cmp, v_cmp, layout, tokens)
        selection = self.selection(q, k, v, q_cmp=q_cmp, k_cmp=k_cmp, layout=layout, tokens=tokens)
        return gated_sum((ball, compression, selection), gate).flatten(-2)

    def ball(self, q: Tensor, k: Tensor, v: Tensor, layout: BallLayout) -> Tensor:
        """Attention inside the ball: (S, H, D)."""
        return ball_attention(q, k, v, layout.ball_size, coord=layout.coord, sigma=self.sigma, valid=layout.valid)

    def compression(
        self, q: Tensor, q_cmp: Tensor, k_cmp: Tensor, v_cmp: Tensor, layout: BallLayout, tokens: Tokens | None = None
    ) -> Tensor:
        """Attention to the coarse keys of the cloud, of all levels where there are several: (S, H, D)."""
        if self.group_compression:
            q = q_cmp
        if tokens is not None:
            out = tokens.attend(q)
        else:
            queries = layout.blocks if self.group_compression else layout.slots
            clouds = layout.of_clouds
            out = dense_attention(q, k_cmp, v_cmp, queries, clouds.blocks, key_valid=clouds.block_valid)
        return out.repeat_interleave(self.block_size, dim=0) if self.group_compression else out

    def selection(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_cmp: Tensor,
        k_cmp: Tensor,
        layout: BallLayout,
        tokens: Tokens | None = None,
    ) -> Tensor:
        """Attention to the selected blocks: (S, H, D)."""
        chosen = self.select(q_cmp, k_cmp, layout, tokens)
        return attend_selected(q, k, v, chosen, layout)

    def select(self, q_cmp: Tensor, k_cmp: Tensor, layout: BallLayout, tokens: Tokens | None = None) -> Tensor:
        """Blocks selected by each group and head: (S / g, H, topk), -1 where there are fewer candidates."""
        if tokens is not None and self.levels is not None:
            return self.levels.select(q_cmp, tokens, self.group_size, self.mask_own_ball)
        groups, clouds = tuple(s // self.group_size for s in layout.slots), layout.of_clouds
        balls = tuple(s // layout.ball_size for s in clouds.slots) if self.mask_own_ball else None
        return select_blocks(
            q_cmp,
            k_cmp,
            groups,
            clouds.blocks,
            self.topk,
            balls=balls,
            block_valid=clouds.block_valid,
            own=layout.own_units(self.group_size, self.ball_size) if self.mask_own_ball else None,
        )
