"""LRSA: the cloud is compressed into latent tokens, these attend to each other, and the points read them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import check_counts, check_heads
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.prenorm import PrenormBlock, mlp
from pointcept_bsa.layers.query_key import QueryKey
from pointcept_bsa.layers.transformer import init_weights
from pointcept_bsa.ops.dense_attention import dense_attention


class NormedAttention(nn.Module):
    """softmax(n_q(q) n_k(k)^T / sqrt(D)) v with k, v = W_kv y, RMSNorms n over the channels of a head; projection."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.key_value = Linear(dim, 2 * dim, bias=False)
        self.query_key = QueryKey(dim // num_heads, 0, norm=True)
        self.projection = Linear(dim, dim)

    def forward(
        self, q: Tensor, y: Tensor, here: tuple[int, ...], there: tuple[int, ...], valid: Tensor | None = None
    ) -> Tensor:
        """Queries (Q, H, D), context (K, C), rows of both in each cloud, ``valid`` (K,) -> (Q, C)."""
        k, v = self.key_value(y).unflatten(-1, (2, self.num_heads, -1)).unbind(1)
        q, k = self.query_key(q.to(k.dtype), k)
        return self.projection(dense_attention(q, k, v, here, there, key_valid=valid).flatten(1))


class LowRankSpatialAttention(nn.Module):
    """Low-Rank Spatial Attention (Yang et al. 2026, arXiv 2604.03582): a kernel U G V^T between the points of a cloud.

    Compress, z = A(L, x) with M learned queries L; process, z += MLP(n(z)), z += A(W n(z), n(z)), z += MLP(n(z));
    reconstruct, y = A(W x, n(z)). Here A is :class:`NormedAttention`, each with weights of its own, n RMSNorm. Cost
    N M C + M^2 C.

    Args:
        dim: C.
        num_heads: H.
        num_latents: M.
        mlp_ratio: hidden width of the MLPs over C.
    """

    def __init__(self, dim: int, num_heads: int, num_latents: int, mlp_ratio: int = 2):
        super().__init__()
        check_heads(dim, num_heads)
        self.latents = nn.Parameter(nn.init.orthogonal_(torch.empty(num_latents, dim)).unflatten(-1, (num_heads, -1)))
        self.compress = NormedAttention(dim, num_heads)
        self.norm1, self.mlp1 = RMSNorm(dim), mlp(dim, mlp_ratio * dim, dim)
        self.norm, self.query, self.process = (
            RMSNorm(dim),
            Linear(dim, dim, bias=False),
            NormedAttention(dim, num_heads),
        )
        self.norm2, self.mlp2 = RMSNorm(dim), mlp(dim, mlp_ratio * dim, dim)
        self.context_norm = RMSNorm(dim)
        self.point_query, self.reconstruct = Linear(dim, dim, bias=False), NormedAttention(dim, num_heads)

    def forward(self, x: Tensor, lengths: tuple[int, ...], valid: Tensor | None = None) -> Tensor:
        """(N, C) -> (N, C). Points that are not ``valid`` (N,) are not heard."""
        num_latents, *head = self.latents.shape
        latents = (num_latents,) * len(lengths)
        z = self.compress(self.latents.repeat(len(lengths), 1, 1), x, latents, lengths, valid)
        z = z.to(torch.promote_types(z.dtype, torch.float32))  # a residual stream of its own
        z = z + self.mlp1(self.norm1(z))
        h = self.norm(z)
        z = z + self.process(self.query(h).unflatten(-1, head), h, latents, latents)
        z = z + self.mlp2(self.norm2(z))
        return self.reconstruct(self.point_query(x).unflatten(-1, head), self.context_norm(z), lengths, latents)


@MODELS.register_module("LRSA-v1m1")
class LRSA(Backbone):
    """Neural operator of Low-Rank Spatial Attention (Yang et al. 2026, arXiv 2604.03582), the form for points.

    MLP of ``feat``, ``depth`` blocks ``x += LRSA(RMSNorm(x)); x += MLP(RMSNorm(x))``, RMSNorm. The coordinates come in
    through ``feat`` alone.

    Written from the paper's description and what others report of its code, which has no licence: the order of the
    layers, queries without a residual, RMSNorm of queries and keys, biases in projections and MLPs only. Widths and
    start of the weights (orthogonal latents, else as :func:`.init_weights`) are ours, and there is no comparison with
    the authors' outputs. Left out: their optional gates, rotary embedding, convolutions on structured meshes.

    Args:
        in_channels: channels of ``feat``.
        channels: C, also ``out_channels``.
        depth: number of blocks.
        num_heads: H.
        num_latents: M.
        mlp_ratio: hidden width of all MLPs over C.
        dimensionality: space dimensions of ``coord``.
        recompute: less memory in training, see :class:`.TransformerBlock`.

    Raises:
        ValueError: heads that do not divide the channels, or a width or number below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 64,
        depth: int = 8,
        num_heads: int = 8,
        num_latents: int = 64,
        mlp_ratio: int = 2,
        dimensionality: int = 3,
        recompute: bool | str = False,
    ):
        super().__init__(in_channels, channels, dimensionality)
        check_counts(channels=channels, num_latents=num_latents, mlp_ratio=mlp_ratio)
        self.embedding = mlp(in_channels, mlp_ratio * channels, channels)
        self.blocks = nn.ModuleList(
            PrenormBlock(
                LowRankSpatialAttention(channels, num_heads, num_latents, mlp_ratio),
                channels,
                mlp_ratio,
                recompute,
                norm=RMSNorm,
            )
            for _ in range(depth)
        )
        self.norm = RMSNorm(channels)
        init_weights(self)

    def padding(self, unit: int) -> CloudPadding:
        return CloudPadding(unit)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        valid = point[VALID] if VALID in point else None
        x = self.embedding(point.feat).to(point.feat.dtype)
        for block in self.blocks:
            x = block(x, lengths, valid)
        return self.norm(x)
