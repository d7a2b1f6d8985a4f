"""The Erwin-NSA network: native sparse attention on a ball tree, at full resolution."""

from __future__ import annotations

from torch import nn

from pointcept_bsa.backbones.anchored import AnchoredTree
from pointcept_bsa.geometry.single_tree import SingleTree
from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.point_embedding import PointEmbedding
from pointcept_bsa.layers.transformer import BallTreeStack, TransformerBlock, init_weights


@MODELS.register_module("ErwinNSA-v1m1")
class ErwinNSATransformer(AnchoredTree):
    """Erwin with Native Sparse Attention (Lapautre et al. 2025, sec. 4.1, fig. 1).

    Message passing embedding, ``depth`` blocks ``x += NSA(RMSNorm(x)); x += SwiGLU(RMSNorm(x))`` at full resolution,
    RMSNorm. Odd blocks use the balls of the tree over rotated coordinates. The defaults are the ShapeNet-Car row of
    table 3; cosmology is ``channels=64, depth=4``, molecular dynamics ``channels=128, depth=2, local_ball_size=32``.

    Unlike the authors' code it takes any batch, looks at all points of a cloud (not only at earlier ones), trains
    sigma, and takes positions into all three branches. The final RMSNorm is that of BSA-v1m1.

    Args:
        in_channels: channels of ``feat``.
        channels: C, also ``out_channels``.
        depth: number of blocks.
        num_heads, num_kv_heads: query heads and key/value heads.
        local_ball_size: slots of a ball of the local branch, ``compressed_ball_size`` times a power of two.
        compressed_ball_size: slots of a compressed ball.
        num_selected, phi, mask_own_ball, distance_bias: see :class:`.NativeSparseAttention`.
        mlp_ratio: hidden width of the SwiGLU over C.
        rotate: degrees by which the second tree is rotated; 0 for one tree.
        mp_steps: message passing steps; 0 for a linear embedding.
        edges, num_neighbors, radius: whom a point hears from, see :func:`.find_neighbors`; a sample's
            ``neighbor_index`` (N, k) replaces the search, see :class:`.PointEmbedding`.
        dimensionality: space dimensions of ``coord``, 2 or 3.
        recompute: less memory in training, see :class:`.TransformerBlock`.
        qk_norm, rotary: see :class:`.NativeSparseAttention`.
        condition: see :class:`.BSATransformer`.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    shares_clouds = True

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 64,
        depth: int = 6,
        num_heads: int = 16,
        num_kv_heads: int = 1,
        local_ball_size: int = 128,
        compressed_ball_size: int = 32,
        num_selected: int = 16,
        phi: str = "mean",
        mask_own_ball: bool = False,
        distance_bias: bool = True,
        mlp_ratio: int = 4,
        rotate: float = 45.0,
        mp_steps: int = 3,
        edges: str = "knn",
        num_neighbors: int = 16,
        radius: float | None = None,
        dimensionality: int = 3,
        recompute: bool | str = False,
        qk_norm: bool = False,
        rotary: float | None = None,
        condition: int | None = None,
    ):
        super().__init__(in_channels, channels, dimensionality)
        ratio = local_ball_size // compressed_ball_size
        if local_ball_size % compressed_ball_size or ratio & (ratio - 1):
            raise ValueError(
                f"local_ball_size: got {local_ball_size}, wanted compressed_ball_size {compressed_ball_size} times a "
                "power of two"
            )
        self.tree = SingleTree(local_ball_size, compressed_ball_size, rotate)
        self.embedding = PointEmbedding(
            in_channels,
            channels,
            mp_steps=mp_steps,
            edges=edges,
            num_neighbors=num_neighbors,
            radius=radius,
            dimensionality=dimensionality,
        )
        blocks: list[nn.Module] = [
            TransformerBlock(
                NativeSparseAttention(
                    channels,
                    num_heads,
                    num_kv_heads=num_kv_heads,
                    compressed_ball_size=compressed_ball_size,
                    num_selected=num_selected,
                    phi=phi,
                    mask_own_ball=mask_own_ball,
                    distance_bias=distance_bias,
                    dimensionality=dimensionality,
                    qk_norm=qk_norm,
                    rotary=rotary,
                ),
                channels,
                mlp_ratio,
                recompute,
            )
            for _ in range(depth)
        ]
        self.blocks = BallTreeStack(blocks, rotate=bool(rotate))
        self.norm = RMSNorm(channels)
        init_weights(self)
        self.condition_on(condition, [channels] * depth)
