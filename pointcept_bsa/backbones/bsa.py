"""The BSA network: a stack of Ball Sparse Attention blocks at full resolution."""

from __future__ import annotations

from torch import nn

from pointcept_bsa.backbones.anchored import AnchoredTree
from pointcept_bsa.geometry.single_tree import SingleTree
from pointcept_bsa.geometry.token_tree import TokenSizes
from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.point_embedding import PointEmbedding
from pointcept_bsa.layers.transformer import BallTreeStack, TransformerBlock, init_weights


@MODELS.register_module("BSA-v1m1")
class BSATransformer(AnchoredTree):
    """Ball Sparse Attention transformer (Brita et al. 2025, sec. 2.2 and 3.1).

    Linear embedding, ``depth`` blocks ``x += BSA(RMSNorm(x)); x += SwiGLU(RMSNorm(x))`` at full resolution, RMSNorm.
    Odd blocks use the balls of the tree over rotated coordinates. The defaults are the paper's setting.

    Args:
        in_channels: channels of ``feat``.
        channels: C, also ``out_channels``.
        depth: number of blocks.
        num_heads: H.
        ball_size, block_size, topk, group_size, phi, query_pooling, group_compression, mask_own_ball, distance_bias:
            see :class:`.BallSparseAttention`.
        mlp_ratio: hidden width of the SwiGLU over C.
        rotate: degrees by which the second tree is rotated; 0 for one tree.
        skip_every: an extra residual connection around each so many blocks; 0 for none.
        dimensionality: space dimensions of ``coord``, 2 or 3.
        recompute: less memory in training, see :class:`.TransformerBlock`.
        qk_norm, rotary: see :class:`.BallSparseAttention`.
        near, fan, beam: compression and selection in O(N log N) over levels of coarse tokens, with ``near`` the slots
            that see each other's blocks (a multiple of ``block_size * fan``); None: as published. See
            :class:`.TokenLevels`.
        levels_beyond: clouds of at most so many slots have blocks alone, at least ``near``; None: ``near``. Slots of
            padding count: a multiple of ``pad_clouds`` keeps a cloud on its side.
        mp_steps: message passing steps before the blocks, for clouds of thousands of points, see docs/recipe.md; 0: a
            linear embedding, as published.
        edges, num_neighbors, radius: whom a point hears from, see :func:`.find_neighbors`; a sample's
            ``neighbor_index`` (N, k) replaces the search, see :class:`.PointEmbedding`.
        condition: P, the number of ``parameters`` (B, P) of the clouds that scale and shift what every layer takes, see
            :class:`.Conditioning`; None for none.
    """

    shares_clouds = True

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 64,
        depth: int = 18,
        num_heads: int = 8,
        ball_size: int = 256,
        block_size: int = 8,
        topk: int = 4,
        group_size: int = 8,
        phi: str = "mlp",
        query_pooling: str = "mean",
        group_compression: bool = False,
        mask_own_ball: bool = True,
        distance_bias: bool = True,
        mlp_ratio: int = 4,
        rotate: float = 45.0,
        skip_every: int = 0,
        dimensionality: int = 3,
        recompute: bool | str = False,
        qk_norm: bool = False,
        rotary: float | None = None,
        near: int | None = None,
        fan: int = 8,
        beam: int = 8,
        levels_beyond: int | None = None,
        mp_steps: int = 0,
        edges: str = "knn",
        num_neighbors: int = 16,
        radius: float | None = None,
        condition: int | None = None,
    ):
        super().__init__(in_channels, channels, dimensionality)
        self.tree = SingleTree(ball_size, block_size, rotate, TokenSizes.wanted(block_size, near, fan, levels_beyond))
        embedding = PointEmbedding(
            in_channels,
            channels,
            mp_steps=mp_steps,
            edges=edges,
            num_neighbors=num_neighbors,
            radius=radius,
            dimensionality=dimensionality,
        )
        self.embedding = embedding if mp_steps else embedding.linear  # whose keys are those of weights from before
        blocks: list[nn.Module] = [
            TransformerBlock(
                BallSparseAttention(
                    channels,
                    num_heads,
                    ball_size=ball_size,
                    block_size=block_size,
                    topk=topk,
                    group_size=group_size,
                    phi=phi,
                    query_pooling=query_pooling,
                    group_compression=group_compression,
                    mask_own_ball=mask_own_ball,
                    distance_bias=distance_bias,
                    dimensionality=dimensionality,
                    qk_norm=qk_norm,
                    rotary=rotary,
                    near=near,
                    fan=fan,
                    beam=beam,
                    levels_beyond=levels_beyond,
                ),
                channels,
                mlp_ratio,
                recompute,
            )
            for _ in range(depth)
        ]
        self.blocks = BallTreeStack(blocks, rotate=bool(rotate), skip_every=skip_every)
        self.norm = RMSNorm(channels)
        init_weights(self)
        self.condition_on(condition, [channels] * depth)
