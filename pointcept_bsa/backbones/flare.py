"""FLARE: every head routes the cloud through a few latent tokens of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import check_counts, check_heads
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.prenorm import PrenormBlock
from pointcept_bsa.layers.query_key import QueryKey
from pointcept_bsa.layers.transformer import init_weights
from pointcept_bsa.ops.dense_attention import dense_attention


class ResidualMLP(nn.Module):
    """h = x + f(W x), then h += f(W h) ``depth`` times, then h + W h, with GELU (its tanh form) as f.

    (N, C_in) -> (N, C). ``lifting``: the first step, from C_in to C channels, is f(W x) alone.
    """

    def __init__(self, in_channels: int, channels: int, depth: int, lifting: bool = False):
        super().__init__()
        self.lifting = lifting
        self.enter = Linear(in_channels, channels)
        self.layers = nn.ModuleList(Linear(channels, channels) for _ in range(depth))
        self.leave = Linear(channels, channels)
        self.activation = nn.GELU(approximate="tanh")

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.enter(x))
        if not self.lifting:
            h = x + h
        for layer in self.layers:
            h = h + self.activation(layer(h))
        return h + self.leave(h)


class LatentRouting(nn.Module):
    """Two calls of attention instead of one (Puri et al. 2025, arXiv 2508.12594, sec. 3).

    z = softmax(q k^T) v, y = softmax(k q^T) z, with M learned latent queries q a head, k = K(x), v = V(x); projection.
    So points are mixed by a matrix of rank M, at a cost of N M C. The scores are not divided by sqrt(D).

    Args:
        dim: C.
        num_heads: H.
        num_latents: M.
        depth: inner layers of K and V, each a :class:`ResidualMLP`.
        qk_norm: RMSNorm of q and k over the channels of a head, see :class:`.QueryKey`.
    """

    def __init__(self, dim: int, num_heads: int, num_latents: int, depth: int, qk_norm: bool = False):
        super().__init__()
        check_heads(dim, num_heads)
        self.latents = nn.Parameter(0.1 * torch.randn(num_latents, num_heads, dim // num_heads))
        self.key = ResidualMLP(dim, dim, depth)
        self.value = ResidualMLP(dim, dim, depth)
        self.query_key = QueryKey.wanted(dim // num_heads, 0, qk_norm, None)
        self.projection = Linear(dim, dim)

    def forward(self, x: Tensor, lengths: tuple[int, ...], valid: Tensor | None = None) -> Tensor:
        """(N, C) -> (N, C). Points that are not ``valid`` (N,) are not heard."""
        num_latents, *head = self.latents.shape
        k, v = (project(x).unflatten(-1, head) for project in (self.key, self.value))
        q, k = (self.latents, k) if self.query_key is None else self.query_key(self.latents, k)
        q = (q * math.sqrt(head[1])).to(k.dtype).repeat(len(lengths), 1, 1)  # undoes the division that attention does
        latents = (num_latents,) * len(lengths)
        z = dense_attention(q, k, v, latents, lengths, key_valid=valid)
        return self.projection(dense_attention(k, q, z, lengths, latents).flatten(1))


@MODELS.register_module("FLARE-v1m1")
class FLARE(Backbone):
    """Fast Low-rank Attention Routing Engine (Puri et al. 2025, arXiv 2508.12594).

    Residual MLP of ``feat``, ``depth`` blocks ``x += LatentRouting(LayerNorm(x)); x += ResidualMLP(LayerNorm(x))``,
    LayerNorm. The residual MLP that the paper ends with is the head's part here. The coordinates come in through
    ``feat`` alone.

    Batches are ragged: latents hear, and are heard by, the points of one cloud. Given the authors' weights it gives
    their outputs, see ``tests/backbones/test_flare.py``.

    Args:
        in_channels: channels of ``feat``.
        channels: C, also ``out_channels``.
        depth: number of blocks.
        num_heads: H; the authors' default is heads of 8 channels.
        num_latents: M latent tokens a head.
        mlp_depth: inner layers of the MLPs of keys, values and block.
        qk_norm: see :class:`LatentRouting`.
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
        mlp_depth: int = 3,
        qk_norm: bool = False,
        dimensionality: int = 3,
        recompute: bool | str = False,
    ):
        super().__init__(in_channels, channels, dimensionality)
        check_counts(channels=channels, num_latents=num_latents)
        self.embedding = ResidualMLP(in_channels, channels, 2, lifting=True)
        self.blocks = nn.ModuleList(
            PrenormBlock(
                LatentRouting(channels, num_heads, num_latents, mlp_depth, qk_norm),
                channels,
                recompute=recompute,
                norm=nn.LayerNorm,
                feed_forward=ResidualMLP(channels, channels, mlp_depth),
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(channels)
        init_weights(self)

    def padding(self, unit: int) -> CloudPadding:
        return CloudPadding(unit)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        valid = point[VALID] if VALID in point else None
        x = self.embedding(point.feat).to(point.feat.dtype)
        for block in self.blocks:
            x = block(x, lengths, valid)
        return self.norm(x)
