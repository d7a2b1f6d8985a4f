"""The linear layer with its own sum for the gradient of the bias, which runs on CUDA by itself."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from pointcept_bsa.layers.fused import product as products
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.layers.fused.linear import linear_parts
from pointcept_bsa.layers.fused.product import are_adjacent
from pointcept_bsa.layers.fused.switch import fused
from pointcept_bsa.layers.linear import Linear


@pytest.fixture
def layer(fuse):
    fuse()
    return Linear(5, 3)


def test_outputs_and_gradients_are_those_of_torch(layer):
    plain = nn.Linear(5, 3)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(40, 5, requires_grad=True)
    grads = []
    for module in (plain, layer):
        out = module(x)
        grads.append([out, *torch.autograd.grad(out.square().sum(), (x, module.weight, module.bias))])
    for wanted, got in zip(*grads, strict=True):
        assert torch.allclose(wanted, got, rtol=1e-5, atol=1e-6)


def test_a_bias_cast_beforehand_has_its_gradient_in_float32(layer):
    cast = CastWeights(layer, torch.bfloat16)
    x = torch.randn(4000, 5)
    with cast.swapped_in():
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(x)
        assert out.dtype == torch.bfloat16
        out.float().sum().backward()
    assert layer.bias.grad.dtype == torch.float32
    assert torch.equal(layer.bias.grad, torch.full((3,), 4000.0))  # which bfloat16 would round to 4000 or 3984
    assert list(cast.gradients()) == [layer.weight]


SHAPES, USES = ((2, 4), (1, 4), (1, 4), (8,)), (3, 1, 2, 1)


class Projections(nn.Module):
    """Queries, keys and values, and gates of the same input."""

    def __init__(self):
        super().__init__()
        self.query, self.key_value, self.gate = Linear(6, 8), Linear(6, 8), Linear(6, 8)

    def forward(self, x):
        """Of each view something else."""
        layers = list(self.children())
        if fused(x):
            parts = linear_parts(x, layers, SHAPES, USES)
        else:
            each = [layer(x).unflatten(-1, (-1, 4)) for layer in layers]
            plain = each[0], each[1][:, :1], each[1][:, 1:], each[2].flatten(-2)
            parts = [(part,) * uses for part, uses in zip(plain, USES, strict=True)]
        return sum((view.double() * (i + 1)).sin().sum() for i, view in enumerate(v for part in parts for v in part))


def outcome(module, x):
    x = x.clone().requires_grad_()
    out = module(x)
    out.backward()
    return [out, x.grad, *(p.grad for p in module.parameters())]


def test_parts_of_one_product_are_those_of_several(monkeypatch, fuse):
    module, x = Projections().double(), torch.randn(40, 6, dtype=torch.float64)
    wanted = outcome(copy.deepcopy(module), x)
    calls = []
    monkeypatch.setattr(nn.functional, "linear", lambda *a, f=nn.functional.linear: calls.append(a) or f(*a))
    fuse()
    assert all(torch.allclose(a, b) for a, b in zip(outcome(copy.deepcopy(module), x), wanted, strict=True))
    assert [len(call[1]) for call in calls] == [24]
    calls.clear()
    monkeypatch.setattr("pointcept_bsa.layers.fused.linear.ALIGNED", 16)  # which 24 columns are not
    assert all(torch.allclose(a, b) for a, b in zip(outcome(copy.deepcopy(module), x), wanted, strict=True))
    assert [len(call[1]) for call in calls] == [16, 8]
    calls.clear()
    monkeypatch.setattr("pointcept_bsa.layers.fused.linear.ALIGNED", 32)
    assert all(torch.allclose(a, b) for a, b in zip(outcome(copy.deepcopy(module), x), wanted, strict=True))
    assert [len(call[1]) for call in calls] == [8, 8, 8]


def test_a_layer_that_somebody_watches_is_called(fuse):
    module, x = Projections(), torch.randn(40, 6)
    wanted, seen = outcome(copy.deepcopy(module), x), []
    fuse()
    for layer in (module.query, module.gate):
        layer.register_forward_hook(lambda layer, x, out: seen.append(layer))
    got = outcome(module, x)
    assert seen == [module.query, module.gate]
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(got, wanted, strict=True))


def test_parts_of_one_product_in_16_bits_copy_no_weights(fuse):
    module, x = Projections(), torch.randn(40, 6)
    wanted = outcome(copy.deepcopy(module), x)
    fuse()
    cast = CastWeights(module, torch.bfloat16)
    with cast.swapped_in(), torch.autocast("cpu", torch.bfloat16):
        assert are_adjacent("weight", list(module.children()))
        got = outcome(module, x)[:2]
    grads = {p: p.grad for p in module.parameters() if p.grad is not None}
    assert len(grads) == 3 and all(g.dtype == torch.float32 for g in grads.values())  # the biases
    got += [(grads | cast.gradients())[p] for p in module.parameters()]
    for a, b in zip(got, wanted, strict=True):
        assert (a.float() - b).norm() < 5e-2 * b.norm()
    with cast.swapped_in(), torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.allclose(module(x), wanted[0], rtol=5e-2, atol=1)


@pytest.mark.parametrize("layers, with_bias", [(1, 0), (1, 1), (2, 0), (2, 2)])
def test_separately_computed_gradients_are_the_same(monkeypatch, layers, with_bias):
    several = [Linear(6, 4 + i) for i in range(layers)]
    biases = [torch.zeros(layer.out_features, dtype=torch.float64, requires_grad=True) for layer in several[:with_bias]]
    x = torch.randn(9, 6, requires_grad=True)
    leaves, found = [x, *(layer.weight for layer in several), *biases], []
    for separate in (False, True):
        monkeypatch.setattr(products, "_separate_gradients", lambda x, weights, separate=separate: separate)
        monkeypatch.setattr(products, "on_side_stream", lambda x: nullcontext())
        y = products.product(x, several, biases)
        found.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
