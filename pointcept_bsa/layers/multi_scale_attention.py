"""Attention to the own ball and to a summary of all balls, in one softmax.

``S`` slots in tree order, ``m`` slots a ball, ``P`` blocks of a cloud, ``C`` channels, ``D`` channels a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.layers.attention import check_heads
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.ops.block_pooling import block_mean
from pointcept_bsa.ops.dense_attention import dense_attention


class MultiScaleAttention(nn.Module):
    """Parallelised multi-scale attention (Curvo et al. 2025, arXiv 2512.01738, PMSA).

    q, k, v = W h. Points of a ball attend to the m points of the ball and to the means of all P blocks of their cloud:
    softmax(q [k_ball, mean k]^T / sqrt(D)) [v_ball, mean v]; projection. The mean of k is the k of the mean.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim)
        self.projection = Linear(dim, dim)

    def forward(self, h: Tensor, layout: BallLayout) -> Tensor:
        """(S, C) -> (S, C)."""
        q, k, v = self.qkv(h).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        block = layout.block_size
        keys = k, block_mean(k.flatten(1), block, layout.valid).unflatten(-1, k.shape[1:])
        values = v, block_mean(v.flatten(1), block, layout.valid).unflatten(-1, v.shape[1:])
        valid = None if layout.valid is None else (layout.valid, _all_if_none(layout.block_valid, keys[1]))
        out, slot, first = [], 0, 0
        for clouds, slots in _runs(layout.slots):
            rows, blocks = slice(slot, slot + clouds * slots), slice(first, first + clouds * slots // block)
            slot, first = rows.stop, blocks.stop
            balls = slots // layout.ball_size
            shape = clouds, balls, layout.ball_size
            k, v = (concatenated(own[rows], pooled[blocks], shape) for own, pooled in (keys, values))
            mask = None if valid is None else concatenated(valid[0][rows], valid[1][blocks], shape)
            width = layout.ball_size + slots // block
            lengths = (layout.ball_size,) * (clouds * balls), (width,) * (clouds * balls)
            out.append(dense_attention(q[rows], k, v, *lengths, key_valid=mask))
        return self.projection(torch.cat(out).flatten(-2))


def concatenated(own: Tensor, pooled: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """What each ball attends to, one ball after the other.

    Args:
        own: (S, ...) of the slots of some clouds.
        pooled: (P', ...) of their blocks.
        shape: clouds, balls a cloud, slots a ball.
    """
    clouds, balls, _ = shape
    of_cloud = pooled.unflatten(0, (clouds, 1, -1)).expand(-1, balls, *[-1] * pooled.dim())
    return torch.cat([own.unflatten(0, shape), of_cloud], 2).flatten(0, 2)


def _runs(slots: tuple[int, ...]) -> list[tuple[int, int]]:
    """Number of clouds that go together, and slots of each: all if they are equal, else one by one."""
    return [(len(slots), slots[0])] if len(set(slots)) == 1 else [(1, s) for s in slots]


def _all_if_none(valid: Tensor | None, blocks: Tensor) -> Tensor:
    return blocks.new_ones(len(blocks), dtype=torch.bool) if valid is None else valid
