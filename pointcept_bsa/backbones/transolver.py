"""Transolver: attention between learned slices of the cloud."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.prenorm import PrenormBlock, mlp
from pointcept_bsa.layers.slice_attention import PhysicsAttention
from pointcept_bsa.layers.transformer import init_weights


@MODELS.register_module("Transolver-v1m1")
class Transolver(Backbone):
    """Transolver (Wu et al. 2024, arXiv 2402.02366, sec. 3), the form for irregular meshes.

    x = MLP(feat) + p with a learned p (C,), ``depth`` blocks ``x += PhysicsAttention(LayerNorm(x));
    x += MLP(LayerNorm(x))``, LayerNorm, linear. The paper's position and input next to each other are ``feat``: a
    config puts the coordinates there.

    Batches are ragged: slices are sums over the points of one cloud. What the authors' code has and this has not:
    distances to a grid of reference points instead of coordinates, dropout, time. (Its orthogonal start of the slices'
    weights does not take place there either: the initialisation of all layers comes after it.) Given the authors'
    weights it gives their outputs, see ``tests/backbones/test_transolver.py``.

    Args:
        in_channels: channels of ``feat``.
        channels: C.
        depth: number of blocks.
        num_heads: H.
        num_slices: G, see :class:`.PhysicsAttention`; the paper has 64, and 32 for its larger meshes.
        mlp_ratio: hidden width of the MLP over C.
        out_channels: of the linear layer at the end; None for C.
        dimensionality: space dimensions of ``coord``.
        recompute: less memory in training, see :class:`.TransformerBlock`.

    Raises:
        ValueError: heads that do not divide the channels, or a width or number below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 128,
        depth: int = 8,
        num_heads: int = 8,
        num_slices: int = 64,
        mlp_ratio: int = 2,
        out_channels: int | None = None,
        dimensionality: int = 3,
        recompute: bool | str = False,
    ):
        super().__init__(in_channels, channels if out_channels is None else out_channels, dimensionality)
        check_counts(channels=channels, num_slices=num_slices, mlp_ratio=mlp_ratio, out_channels=self.out_channels)
        self.embedding = mlp(in_channels, 2 * channels, channels)
        self.placeholder = nn.Parameter(torch.rand(channels) / channels)
        self.blocks = nn.ModuleList(
            PrenormBlock(
                PhysicsAttention(channels, num_heads, num_slices), channels, mlp_ratio, recompute, norm=nn.LayerNorm
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(channels)
        self.projection = Linear(channels, self.out_channels)
        init_weights(self)

    def padding(self, unit: int) -> CloudPadding:
        return CloudPadding(unit)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        valid = point[VALID] if VALID in point else None
        x = self.embedding(point.feat).to(point.feat.dtype) + self.placeholder
        for block in self.blocks:
            x = block(x, lengths, valid)
        return self.projection(self.norm(x))
