"""Steps that cast all weights and collect all gradients at once, where not everything is as usual."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.layers.fused.switch import switched
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.training.graph import FlatStep

BF16 = torch.bfloat16


class Breaks(torch.autograd.Function):
    """The identity, whose gradient there is not."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("out of memory, say")


class Network(nn.Module):
    """Two layers that are heard, one that is not, one that does not learn, one that is used in two ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.unheard, self.frozen = Linear(4, 8), Linear(8, 2), Linear(4, 3), Linear(8, 8)
        self.twice = Linear(8, 8)
        self.unused = nn.Parameter(torch.ones(3))
        self.frozen.requires_grad_(False)
        self.breaks = ""

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.autocast("cpu", BF16):
            x = self.frozen(self.first(batch["feat"])).tanh()
            if self.breaks == "forward":
                raise RuntimeError("out of memory, say")
            x = self.twice(x) + F.linear(x.sin(), self.twice.weight, self.twice.bias)
            x = Breaks.apply(x) if self.breaks == "backward" else x
            loss = self.last(x).float().square().mean()
        return {"loss": loss, "root": loss.sqrt()}


def batch(seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {"feat": torch.randn(50, 4, generator=random), "offset": torch.tensor([50])}


def plain_gradients(network: Network, seed: int) -> tuple[float, dict[str, Tensor | None]]:
    network.zero_grad()
    loss = network(batch(seed))["loss"]
    loss.backward()
    return loss.item(), {name: p.grad for name, p in network.named_parameters()}


def check_step(network: Network, step: FlatStep, seed: int, tolerance: float) -> None:
    """Losses are those of autocast to the last bit, gradients but for 16 bits here and 32 there."""
    loss, wanted = plain_gradients(copy.deepcopy(network), seed)
    out = step(batch(seed))
    assert out["loss"].item() == loss and out["root"].item() == pytest.approx(math.sqrt(loss))
    assert not any(value.requires_grad for value in out.values())
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None and name.startswith("frozen")
        elif wanted[name] is None:
            assert parameter.grad is None and name.startswith("un")
        else:
            error = (parameter.grad - wanted[name]).norm()
            assert error <= tolerance * wanted[name].norm() and parameter.grad.dtype == torch.float32, name


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_of_layers_used_in_no_way_or_in_two(fused):
    network = Network()
    with switched(fused):
        step = FlatStep(network, network, BF16)
        names, places = list(network.state_dict()), dict(step.gradients.places)
        for seed in range(3):
            check_step(network, step, seed, 2e-2 if fused else 1e-7)
    assert list(network.state_dict()) == names and all(isinstance(p, nn.Parameter) for p in network.parameters())
    used = [p for p in network.parameters() if p.grad is not None]
    assert len(used) == 6 and all(p.grad is places[p] for p in used)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_breaks_leaves_the_network_as_it_was(fused, where):
    network = Network()
    with switched(fused):
        step = FlatStep(network, network, BF16)
        check_step(network, step, 1, 2e-2)
        parameters = dict(network.named_parameters())
        before = {name: value.clone() for name, value in network.state_dict().items()}
        network.breaks = where
        with pytest.raises(RuntimeError, match="out of memory, say"):
            step(batch(2))
        network.breaks = ""
        assert dict(network.named_parameters()).keys() == parameters.keys()
        assert all(p is parameters[name] for name, p in network.named_parameters())
        assert all(module.cast is None for module in network.modules() if isinstance(module, Linear))
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        network(batch(3))["loss"].backward()  # as it is, for an evaluation or a step of another kind
        check_step(network, step, 3, 2e-2 if fused else 1e-7)


def test_ctrl_c_between_two_layers_leaves_the_network_as_it_was(interrupted):
    network = Network()
    step = FlatStep(network, network, BF16)
    parameters = dict(network.named_parameters())
    with pytest.raises(KeyboardInterrupt), interrupted(nn.Module.__setattr__, 2):  # as a layer is told of its stand-ins
        step(batch(0))
    assert all(p is parameters[name] for name, p in network.named_parameters())
    assert all(module.cast is None for module in network.modules() if isinstance(module, Linear))
    check_step(network, step, 1, 1e-7)
