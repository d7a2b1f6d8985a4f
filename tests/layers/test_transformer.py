"""What the transformer block takes together, for fewer launches, against the layers one by one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pointcept_bsa.layers.attention import FullAttention
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.layers.fused.linear import worth_joining
from pointcept_bsa.layers.fused.product import are_adjacent
from pointcept_bsa.layers.fused.residual import Residual
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.transformer import SwiGLU, TransformerBlock
from pointcept_bsa.training.graph import FlatGradients


def results(module, x, cast=None):
    """Output, and the gradients of the input and of the parameters by their names."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    out = module(x)
    out.float().square().sum().backward()
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {"out": out, "x": x.grad} | found


@pytest.mark.parametrize("in_16_bits", [False, True])
def test_two_layers_by_one_product_are_the_two_layers(fuse, launches, in_16_bits):
    torch.manual_seed(0)
    plain = SwiGLU(8, 24)
    joined = copy.deepcopy(plain)
    x = torch.randn(50, 8)
    cast = CastWeights(joined, torch.bfloat16)
    assert list(joined.state_dict()) == list(plain.state_dict())
    wanted = results(plain, x)
    fuse()
    assert worth_joining(joined.w1, joined.w2)
    if not in_16_bits:
        got = results(joined, x)
        tolerance = 1e-6
    else:
        with cast.swapped_in():
            assert all(are_adjacent(name, (joined.w1, joined.w2)) for name in ("weight", "bias"))
            with torch.autocast("cpu", torch.bfloat16), launches() as seen:
                found = results(joined, x)
        products = [i for i, name in enumerate(seen.names) if name == "addmm"]
        assert len(products) == 2 and "cat" not in seen.names[: products[-1]]
        names = {parameter: name for name, parameter in joined.named_parameters()}
        got = {key: found[key] for key in ("out", "x")} | {names[p]: g for p, g in cast.gradients().items()}
        got |= {name: p.grad for name, p in joined.named_parameters() if p.grad is not None}
        assert joined.w1.bias.grad.dtype == torch.float32
        tolerance = 2e-2
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (got[name].float() - value).norm() < tolerance * value.norm(), name


def test_layers_are_not_joined_where_that_would_copy_for_nothing():
    layers = Linear(4, 8), Linear(4, 8)
    assert worth_joining(*layers)
    with torch.no_grad():
        assert not worth_joining(*layers)
    layers[0].requires_grad_(False)
    assert not worth_joining(*layers)


def test_positions_and_norm_at_once_are_one_after_the_other():
    norm, position = RMSNorm(6), Linear(3, 6)
    x, place = torch.randn(9, 6), torch.randn(9, 3)
    wanted = nn.functional.rms_norm(x, (6,), norm.weight) + nn.functional.linear(place, position.weight, position.bias)
    assert torch.allclose(Residual(x).normed(norm, place, position)[1], wanted, atol=1e-6)
    place.requires_grad_()  # forces: the gradient reaches the positions
    (grad,) = torch.autograd.grad(Residual(x).normed(norm, place, position)[1].sum(), place)
    assert torch.allclose(grad, position.weight.sum(0).expand(9, 3), atol=1e-6)


def test_a_block_is_its_parts_one_after_the_other(monkeypatch):
    torch.manual_seed(0)
    block = TransformerBlock(FullAttention(8, 2, 3), 8)
    x, place = torch.randn(40, 8), torch.randn(40, 3)
    first = x + block.attention(block.norm1(x), place, (40,))
    wanted = first + block.swiglu(block.norm2(first))
    assert torch.equal(block(x, place, (40,)), wanted)
    monkeypatch.setattr("pointcept_bsa.layers.prenorm.ROWS_AT_ONCE", 16)
    with torch.no_grad():
        assert torch.allclose(block(x, place, (40,)), wanted, atol=1e-6)


def test_gradients_are_taken_by_one_copy_for_each_type(launches):
    """A list of mixed types, or strides, would be copied tensor by tensor."""
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))
    gradients = FlatGradients(model)
    gradients.part()
    others = {}
    for i, parameter in enumerate(model.parameters()):
        others[parameter] = torch.randn(parameter.shape).to(torch.bfloat16 if i % 2 else torch.float32)
        if parameter.dim() == 2 and i % 4:
            others[parameter] = others[parameter].T.contiguous().T
    with launches() as seen:
        gradients.take(others)
    assert seen.names.count("_foreach_copy_") == 2
    for parameter, gradient in others.items():
        assert torch.equal(parameter.grad, gradient.float())
