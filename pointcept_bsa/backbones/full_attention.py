"""Full attention: what the sparse networks approximate, and the speed they must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.backbones.anchored import AnchoredBackbone
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.anchored_stack import decode_blocks
from pointcept_bsa.layers.anchors import CloudQueryPositions, Memory
from pointcept_bsa.layers.attention import FullAttention
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.shared_clouds import SharedPoints
from pointcept_bsa.layers.transformer import BlockStack, TransformerBlock, init_weights
from pointcept_bsa.metrics import cloud_mean


@MODELS.register_module("FullAttention-v1m1")
class FullAttentionTransformer(AnchoredBackbone):
    """Transformer with dense attention per cloud (Vaswani et al. 2017), otherwise the stack of BSA-v1m1.

    Linear embedding, ``depth`` blocks ``x += attention(RMSNorm(x)); x += SwiGLU(RMSNorm(x))``, RMSNorm. Positions
    relative to the cloud's mean enter every layer through a linear map. No tree, no padding. Where processes share
    clouds, keys and values of all points are gathered, see :class:`.SharedPoints`.

    Args:
        in_channels: channels of ``feat``.
        channels: C, also ``out_channels``.
        depth: number of blocks.
        num_heads: H.
        mlp_ratio: hidden width of the SwiGLU over C.
        dimensionality: space dimensions of ``coord``.
        recompute: less memory in training, see :class:`.TransformerBlock`.
        qk_norm, rotary: see :class:`.FullAttention`.
        condition: see :class:`.BSATransformer`.
    """

    shares_clouds = True

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 64,
        depth: int = 18,
        num_heads: int = 8,
        mlp_ratio: int = 4,
        dimensionality: int = 3,
        recompute: bool | str = False,
        qk_norm: bool = False,
        rotary: float | None = None,
        condition: int | None = None,
    ):
        super().__init__(in_channels, channels, dimensionality)
        self.embedding = Linear(in_channels, channels)
        self.blocks = BlockStack(
            TransformerBlock(
                FullAttention(channels, num_heads, dimensionality, qk_norm=qk_norm, rotary=rotary),
                channels,
                mlp_ratio,
                recompute,
            )
            for _ in range(depth)
        )
        self.norm = RMSNorm(channels)
        init_weights(self)
        self.condition_on(condition, [channels] * depth)

    def padding(self, unit: int) -> CloudPadding:
        return CloudPadding(unit)

    def encode(self, point: Point, lengths: tuple[int, ...], memory: Memory | None = None) -> Tensor:
        valid = point[VALID] if VALID in point else None
        counts = torch.diff(point.offset, prepend=point.offset.new_zeros(1))
        mean = cloud_mean(point.coord, point.offset, valid)
        centred = point.coord - mean.repeat_interleave(counts, 0, output_size=point.coord.shape[0])
        x = self.embedding(point.feat).to(point.feat.dtype)  # under autocast the residual stays float32
        films, shared = self.films(point, lengths), SharedPoints.of(lengths, x.device)
        return self.blocks(x, self.norm, centred, lengths, valid, memory, shared, rows=lengths, films=films)

    def encode_anchors(self, point: Mapping[str, Any]) -> Memory:
        memory = Memory(self.check_anchors(point), point["offset"], point["coord"].detach())
        memory.feat = self.encode(Point(point), memory.lengths, memory)
        return memory

    def decode(self, memory: Memory, point: Mapping[str, Any]) -> Tensor:
        lengths, queries = self.check_queries(memory, point), Point(point)
        x = self.embedding(queries.feat).to(queries.feat.dtype)
        mean = cloud_mean(memory.coord, memory.offset)
        positions = CloudQueryPositions.of(queries.coord, lengths, mean, memory.lengths)
        return self.norm(decode_blocks(self.blocks, x, positions, memory, self.films(queries, lengths)))
