"""The linear layer with its own sum for the gradient of the bias, which runs on CUDA by itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pointcept_bsa.host.cast_weights import CastWeights
from pointcept_bsa.layers.linear import Linear


@pytest.fixture
def layer(monkeypatch):
    monkeypatch.setattr(Linear, "sums_bias", staticmethod(lambda x: True))
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
    with cast.in_place():
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(x)
        assert out.dtype == torch.bfloat16
        out.float().sum().backward()
    assert layer.bias.grad.dtype == torch.float32
    assert torch.equal(layer.bias.grad, torch.full((3,), 4000.0))  # which bfloat16 would round to 4000 or 3984
    assert list(cast.gradients()) == [layer.weight]
