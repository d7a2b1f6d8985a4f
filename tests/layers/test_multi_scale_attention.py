"""Balls and pooled tokens in one softmax, against one dense attention with a mask."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.multi_scale_attention import MultiScaleAttention

BALL, BLOCK, HEADS = 16, 4, 2


def dense(layer, h, layout):
    """Every slot against all slots and all means of blocks, what it must not see masked."""
    q, k, v = layer.qkv(h).unflatten(-1, (3, HEADS, -1)).permute(1, 2, 0, 3)
    slots = len(h)
    valid = torch.ones(slots, dtype=torch.bool) if layout.valid is None else layout.valid
    member = torch.arange(slots) // BLOCK == torch.arange(slots // BLOCK).unsqueeze(1)
    member = member & valid
    mean = member.double() / member.sum(1, keepdim=True).clamp(min=1)
    cloud = torch.arange(len(layout.slots)).repeat_interleave(torch.tensor(layout.slots))
    own = (torch.arange(slots) // BALL).unsqueeze(1) == torch.arange(slots) // BALL
    seen = torch.cat([own & valid, (cloud.unsqueeze(1) == cloud[::BLOCK]) & member.any(1)], 1)
    keys, values = (torch.cat([t, mean @ t], 1) for t in (k, v))
    scores = (q @ keys.transpose(1, 2) / math.sqrt(q.shape[-1])).masked_fill(~seen, -math.inf)
    return layer.projection((scores.softmax(-1) @ values).transpose(0, 1).flatten(1))


@pytest.mark.parametrize("lengths", [(64,), (50,), (33, 48), (1, 70, 16), (32, 32)])
def test_it_is_one_dense_attention_with_a_mask(lengths):
    torch.manual_seed(0)
    tree = BallTree.build(torch.randn(sum(lengths), 3), lengths, BALL, BLOCK)
    layer = MultiScaleAttention(8, HEADS).double()
    h = torch.randn(len(tree.index), 8, dtype=torch.float64, requires_grad=True)
    outs = [tree.scatter(attention(h, tree.layout)) for attention in (layer, lambda *args: dense(layer, *args))]
    torch.testing.assert_close(*outs, rtol=1e-10, atol=1e-10)
    grads = [torch.autograd.grad(out.square().sum(), h)[0] for out in outs]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="num_heads: got 3"):
        MultiScaleAttention(8, 3)
