"""Positions as waves, attention between two sets of tokens, pooling into supernodes."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.layers.perceiver import AnchorAttention, PerceiverAttention, SelfAttention, Tokens
from pointcept_bsa.layers.prenorm import PrenormBlock
from pointcept_bsa.layers.query_key import RotaryEmbedding
from pointcept_bsa.layers.sinusoidal import SinusoidalEmbedding
from pointcept_bsa.layers.supernode_pooling import GeometryPooling, SupernodePooling


def test_waves_by_hand():
    """Two waves an axis: of lengths 2 pi / scale, and a hundred times that; channels left over are zero."""
    out = SinusoidalEmbedding(9, 2, scale=3.0)(torch.tensor([[0.5, -1.0]]))
    waves = [[math.sin(1.5), math.sin(0.015), math.cos(1.5), math.cos(0.015)],
             [math.sin(-3), math.sin(-0.03), math.cos(3), math.cos(0.03)]]  # fmt: skip
    torch.testing.assert_close(out, torch.tensor([[*waves[0], *waves[1], 0.0]]), rtol=1e-5, atol=1e-6)


def attended(layer, x, y, valid):
    """One cloud, one head at a time."""
    q, (k, v) = layer.q(x), layer.kv(y).chunk(2, 1)
    width = q.shape[1] // layer.num_heads
    out = []
    for head in range(layer.num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = (q[:, part] @ k[:, part].T / math.sqrt(width)).masked_fill(~valid, -math.inf)
        out.append(scores.softmax(1) @ v[:, part])
    return layer.projection(torch.cat(out, 1))


@pytest.mark.parametrize("there", [(3, 7), (4, 4)])
def test_tokens_attend_to_the_valid_ones_of_their_cloud(there):
    layer = PerceiverAttention(8, 2).double()
    x, y = torch.randn(11, 8, dtype=torch.float64), torch.randn(sum(there), 8, dtype=torch.float64)
    valid = torch.rand(sum(there)) > 0.4
    valid[[0, there[0]]] = True
    got = layer(x, Tokens((5, 6)), y, Tokens(there, valid))
    parts = zip(x.split((5, 6)), layer.context_norm(y).split(there), valid.split(there), strict=True)
    torch.testing.assert_close(got, torch.cat([attended(layer, *part) for part in parts]))


def test_attention_to_all_tokens_as_anchors_is_that_among_themselves():
    rotary = RotaryEmbedding(12, 2, 3.0)
    among, anchored = SelfAttention(24, 2, rotary), AnchorAttention(24, 2, rotary)
    anchored.load_state_dict(among.state_dict())
    x, coord = torch.randn(9, 24), torch.randn(9, 2)
    order = torch.randperm(9)
    here, there = (Tokens((9,), None, rotary.cos_sin(at)) for at in (coord, coord[order]))
    torch.testing.assert_close(anchored(x, here, order, there), among(x, here), rtol=1e-5, atol=1e-6)
    moved = Tokens((9,), None, rotary.cos_sin(coord + 0.7))
    torch.testing.assert_close(among(x, moved), among(x, here), rtol=1e-4, atol=1e-5)


def test_recomputed_blocks_have_the_same_gradients():
    x = torch.randn(6, 8, requires_grad=True)
    plain, again = (PrenormBlock(SelfAttention(8, 2), 8, recompute=recompute) for recompute in (False, True))
    again.load_state_dict(plain.state_dict())
    for a, b in zip(*(torch.autograd.grad(block(x, Tokens((6,))).square().sum(), [x, *block.parameters()])
                      for block in (plain, again)), strict=True):  # fmt: skip
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(plain(x, Tokens((6,))), again(x, Tokens((6,))))


def test_a_supernode_hears_the_mean_of_its_messages():
    pool, h = SupernodePooling(4), torch.randn(6, 4)
    index = torch.tensor([[2, 0, 5], [4, -1, -1]])
    gelu = torch.nn.functional.gelu
    wanted = [
        torch.stack([pool.last(gelu(pool.second(gelu(pool.first(torch.cat([h[j], h[i]])))))) for j in near]).mean(0)
        for i, near in ((2, (2, 0, 5)), (4, (4,)))
    ]
    torch.testing.assert_close(pool(h, torch.tensor([2, 4]), index), torch.stack(wanted), rtol=1e-5, atol=1e-6)


def test_geometry_is_pooled_from_relative_and_own_positions():
    pool, x = GeometryPooling(16, 2, scale=2.0), torch.randn(5, 2, requires_grad=True)
    got = pool(x, torch.tensor([1]), torch.tensor([[1, 3]]))
    far = [torch.cat([x[1] - x[j], (x[1] - x[j]).norm().unsqueeze(0)]) for j in (1, 3)]
    messages = [pool.last(torch.nn.functional.gelu(pool.first(pool.relative(r.unsqueeze(0))))) for r in far]
    wanted = pool.projection(torch.cat([(messages[0] + messages[1]) / 2, pool.absolute(x[1:2])], 1))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    got.sum().backward()
    assert x.grad.isfinite().all()  # at the supernode itself the distance is zero


def test_too_few_channels_for_a_wave_are_refused():
    with pytest.raises(ValueError, match="channels: got 3, wanted at least 4"):
        SinusoidalEmbedding(3, 2, 1.0)
