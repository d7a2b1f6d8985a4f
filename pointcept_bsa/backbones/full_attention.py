"""Full attention: what the sparse networks approximate, and the speed they must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import FullAttention
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.transformer import BlockStack, TransformerBlock, init_weights
from pointcept_bsa.metrics import cloud_mean


@MODELS.register_module("FullAttention-v1m1")
class FullAttentionTransformer(Backbone):
    """Transformer with dense attention per cloud (Vaswani et al. 2017), otherwise the stack of BSA-v1m1.

    Linear embedding, ``depth`` blocks ``x += attention(RMSNorm(x)); x += SwiGLU(RMSNorm(x))``, RMSNorm. Positions
    relative to the cloud's mean enter every layer through a linear map. No tree, no padding.

    Args:
        in_channels: channels of ``feat``.
        channels: C, also ``out_channels``.
        depth: number of blocks.
        num_heads: H.
        mlp_ratio: hidden width of the SwiGLU over C.
        dimensionality: space dimensions of ``coord``.
        checkpoint: less memory in training, see :class:`.TransformerBlock`.
        qk_norm, rotary: see :class:`.FullAttention`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 64,
        depth: int = 18,
        num_heads: int = 8,
        mlp_ratio: int = 4,
        dimensionality: int = 3,
        checkpoint: bool | str = False,
        qk_norm: bool = False,
        rotary: float | None = None,
    ):
        super().__init__(in_channels, channels, dimensionality)
        self.embedding = Linear(in_channels, channels)
        self.blocks = BlockStack(
            TransformerBlock(
                FullAttention(channels, num_heads, dimensionality, qk_norm=qk_norm, rotary=rotary),
                channels,
                mlp_ratio,
                checkpoint,
            )
            for _ in range(depth)
        )
        self.norm = RMSNorm(channels)
        init_weights(self)

    def padding(self, unit: int) -> CloudPadding:
        return CloudPadding(unit)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        valid = point[VALID] if VALID in point else None
        counts = torch.diff(point.offset, prepend=point.offset.new_zeros(1))
        mean = cloud_mean(point.coord, point.offset, valid)
        centred = point.coord - mean.repeat_interleave(counts, 0, output_size=point.coord.shape[0])
        x = self.embedding(point.feat).to(point.feat.dtype)  # under autocast the residual stays float32
        return self.blocks(x, self.norm, centred, lengths, valid)
