"""The linear layer with its own sum for the gradient of the bias, which runs on CUDA by itself."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.layers.fused.linear import linear_parts
from pointcept_bsa.layers.fused.product import are_adjacent, product_of, separate_product
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


USES = 3, 1, 2, 1


class Projections(nn.Module):
    """Queries, keys and values, and gates of the same input, each so wide."""

    def __init__(self, query=8, key_value=8, gate=8):
        super().__init__()
        self.query, self.key_value, self.gate = Linear(6, query), Linear(6, key_value), Linear(6, gate)
        half = key_value // 2
        self.shapes = (2, query // 2), (1, half), (1, half), (gate,)

    def forward(self, x):
        """Of each view something else."""
        layers = list(self.children())
        if fused(x):
            parts = linear_parts(x, layers, self.shapes, USES)
        else:
            query, key_value, gate = (layer(x) for layer in layers)
            plain = query.unflatten(-1, (2, -1)), *key_value.unflatten(-1, (2, 1, -1)).unbind(-3), gate
            parts = [(part,) * uses for part, uses in zip(plain, USES, strict=True)]
        return sum((view.double() * (i + 1)).sin().sum() for i, view in enumerate(v for part in parts for v in part))


def outcome(module, x):
    x = x.clone().requires_grad_()
    out = module(x)
    out.backward()
    return [out, x.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize(
    "widths, products",
    [((8, 8, 8), [24]), ((8, 8, 4), [16, 4]), ((4, 8, 8), [4, 16]), ((4, 8, 4), [16]), ((8, 4, 8), [8, 4, 8])],
    ids=str,
)
def test_parts_of_one_product_are_those_of_several(widths, products, fuse, launches):
    """As many layers as possible, from the first on, that come to whole vectors of 8 columns are one product."""
    module, x = Projections(*widths).double(), torch.randn(40, 6, dtype=torch.float64)
    wanted = outcome(copy.deepcopy(module), x)
    fuse()
    assert all(torch.allclose(a, b) for a, b in zip(outcome(copy.deepcopy(module), x), wanted, strict=True))
    with launches() as seen:
        module(x)
    assert [out[1] for name, out in zip(seen.names, seen.shapes, strict=True) if name == "addmm"] == products


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
def test_separately_computed_gradients_are_the_same(layers, with_bias):
    several = [Linear(6, 4 + i) for i in range(layers)]
    weights, biases = ([getattr(layer, name) for layer in several] for name in ("weight", "bias"))
    summed = [torch.zeros(layer.out_features, dtype=torch.float64, requires_grad=True) for layer in several[:with_bias]]
    x = torch.randn(9, 6, requires_grad=True)
    leaves, found = [x, *weights, *summed], []
    for way in (product_of, separate_product):
        y = way(x, weights, [bias.detach() for bias in biases], summed)
        found.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
