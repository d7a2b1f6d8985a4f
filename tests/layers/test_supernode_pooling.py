"""Features pooled at supernodes, and their positions as waves, against the equations edge by edge."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.layers.sinusoidal import SinusoidalEmbedding
from pointcept_bsa.layers.supernode_pooling import GeometryPooling, SupernodePooling

INDEX = torch.tensor([[0, 2, 4], [1, -1, -1], [-1, -1, -1], [3, 0, -1]])  # the third hears nobody
SUPERNODES = torch.tensor([2, 1, 0, 4])


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def affine(layer, x):
    return layer.weight @ x + layer.bias


def mean(messages, channels):
    return sum(messages) / len(messages) if messages else torch.zeros(channels, dtype=torch.double)


def assert_same(layer, got, wanted):
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    seen = torch.rand_like(wanted)
    both = (torch.autograd.grad((out * seen).sum(), list(layer.parameters())) for out in (got, wanted))
    for left, right in zip(*both, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)


def test_features_at_supernodes():
    torch.manual_seed(0)
    layer, h = SupernodePooling(4).double(), torch.randn(5, 4, dtype=torch.double)
    rows = []
    for centre, neighbors in zip(SUPERNODES.tolist(), INDEX.tolist(), strict=True):
        messages = [
            gelu(affine(layer.second, gelu(affine(layer.first, torch.cat([h[j], h[centre]])))))
            for j in neighbors
            if j >= 0
        ]
        rows.append(affine(layer.last, mean(messages, 4)))
    assert_same(layer, layer(h, SUPERNODES, INDEX), torch.stack(rows))


def wave_by_hand(position, channels, scale):
    """Of one point: an axis after the other, its sines before its cosines."""
    waves, out = channels // len(position) // 2, []
    for x in position:
        phases = [scale * x / 10_000 ** (i / waves) for i in range(waves)]
        out += [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
    return torch.tensor(out + [0.0] * (channels - len(out)), dtype=torch.double)


@pytest.mark.parametrize(("channels", "dims"), [(12, 3), (14, 3), (8, 2), (2, 1)])
def test_waves(channels, dims):
    at = torch.randn(6, dims, dtype=torch.double)
    wanted = torch.stack([wave_by_hand(row.tolist(), channels, 3.0) for row in at])
    # the table of frequencies is kept in single precision
    torch.testing.assert_close(SinusoidalEmbedding(channels, dims, 3.0)(at), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "told"), [((5, 3, 1.0), "got 5, wanted at least 6"), ((6, 3, 0.0), "got 0.0, wanted a positive")]
)
def test_waves_that_cannot_be(arguments, told):
    with pytest.raises(ValueError, match=told):
        SinusoidalEmbedding(*arguments)


def test_positions_at_supernodes():
    torch.manual_seed(0)
    layer, at = GeometryPooling(8, 2, 2.0).double(), torch.randn(5, 2, dtype=torch.double)
    relative, absolute = layer.relative, layer.absolute
    rows = []
    for centre, neighbors in zip(SUPERNODES.tolist(), INDEX.tolist(), strict=True):
        messages = []
        for j in (j for j in neighbors if j >= 0):
            apart = at[centre] - at[j]
            edge = torch.cat([apart, apart.square().sum().sqrt().view(1)])
            messages.append(gelu(affine(layer.first, relative(edge.view(1, -1))[0])))
        pooled = affine(layer.last, mean(messages, 8))
        rows.append(affine(layer.projection, torch.cat([pooled, absolute(at[centre].view(1, -1))[0]])))
    assert_same(layer, layer(at, SUPERNODES, INDEX), torch.stack(rows))
