"""Attention between slices, against its equations point by point."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.layers.slice_attention import EPS, PhysicsAttention

HEADS, CHANNELS, SLICES = 2, 3, 4  # channels of a head


def made(lengths):
    torch.manual_seed(1)
    layer = PhysicsAttention(HEADS * CHANNELS, HEADS, SLICES).double()
    with torch.no_grad():
        layer.temperature.copy_(torch.tensor([0.4, 0.7]))
    return layer, torch.randn(sum(lengths), HEADS * CHANNELS, dtype=torch.double)


def affine(layer, x):
    """W x + b of one row, by sums."""
    out = [sum(w * v for w, v in zip(row, x, strict=True)) for row in layer.weight]
    return torch.stack(out) + (0 if layer.bias is None else layer.bias)


def softmax(scores):
    powers = [math.e ** (s - max(scores)) for s in scores]
    return [p / sum(powers) for p in powers]


def cloud_by_hand(layer, x, counts):
    """(n, C) of one cloud -> (n, C); the points that count are named by ``counts``."""
    out = [[] for _ in x]
    for head in range(HEADS):
        mine = slice(head * CHANNELS, (head + 1) * CHANNELS)
        weights = [
            softmax([s / layer.temperature[head] for s in affine(layer.slice, affine(layer.assigned, row)[mine])])
            for row in x
        ]
        values = [affine(layer.value, row)[mine] for row in x]
        tokens = []
        for g in range(SLICES):
            total = sum(w[g] * v for w, v, there in zip(weights, values, counts, strict=True) if there)
            tokens.append(total / (sum(w[g] for w, there in zip(weights, counts, strict=True) if there) + EPS))
        heard = []
        for token in tokens:
            scores = [sum(affine(layer.q, token) * affine(layer.k, other)) / math.sqrt(CHANNELS) for other in tokens]
            heard.append(sum(p * affine(layer.v, other) for p, other in zip(softmax(scores), tokens, strict=True)))
        for n, there in enumerate(counts):
            told = sum(weights[n][g] * heard[g] for g in range(SLICES))
            out[n].append(told if there else torch.zeros(CHANNELS, dtype=torch.double))
    return torch.stack([affine(layer.projection, torch.cat(parts)) for parts in out])


@pytest.mark.parametrize("lengths", [(5,), (3, 3), (4, 1, 2)], ids=str)
@pytest.mark.parametrize("empty", [False, True])
def test_physics_attention_is_its_equations(lengths, empty):
    layer, x = made(lengths)
    valid = torch.ones(len(x), dtype=torch.bool)
    valid[1] = not empty
    by_hand = zip(x.split(list(lengths)), valid.split(list(lengths)), strict=True)
    wanted = torch.cat([cloud_by_hand(layer, part, there.tolist()) for part, there in by_hand])
    got = layer(x, lengths, valid if empty else None)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    seen = torch.rand_like(wanted)
    both = (torch.autograd.grad((out * seen).sum(), list(layer.parameters())) for out in (got, wanted))
    for left, right in zip(*both, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)


def test_weights_of_the_slices_add_up_to_one_and_follow_the_temperature():
    layer, x = made((6,))
    warm = layer.weights(x)
    torch.testing.assert_close(warm.sum(-1), torch.ones(6, HEADS, dtype=torch.double))
    with torch.no_grad():
        layer.temperature.mul_(0.1)
    assert (layer.weights(x).amax(-1) > warm.amax(-1)).all()
