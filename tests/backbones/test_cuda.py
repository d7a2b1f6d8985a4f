"""The GPU computes what the CPU computes, in single precision and under autocast, eagerly and as a captured graph."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.graph import GraphedStep

from .conftest import NETWORKS, sample, scale_weights

CUDA = torch.device("cuda")
CAPTURED = [name for name in NETWORKS if not name.startswith("ptv3")]  # of PT-v3m1 shapes depend on values
PADDED = [name for name in CAPTURED if NETWORKS[name].get("pad") != "power_of_two"]


@pytest.mark.gpu
def test_cuda_equals_cpu(network):
    lengths = (300, 1, 77)
    network = network.double()  # so that no two blocks score nearly the same and are chosen differently
    data = {k: v.double() if v.is_floating_point() else v for k, v in sample(lengths).items()}
    on_gpu = {k: v.cuda() for k, v in data.items()}
    other = copy.deepcopy(network).cuda()
    outs = [net(d)["feat"] for net, d in ((network, data), (other, on_gpu))]
    assert torch.allclose(outs[0], outs[1].cpu(), atol=1e-8)
    for out in outs:
        out.square().mean().backward()
    for (name, a), b in zip(network.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad.cpu(), atol=1e-8), name


class SameBlocks(TorchDispatchMode):
    """The first pass within keeps which blocks were chosen, the second is given the same.

    Where two blocks score nearly the same, rounding decides between them: that is no error of what is computed from
    the block chosen.
    """

    CHOICES = ("pcbsa::select_blocks", "pcbsa::best_children", "pcbsa::selection_lists")

    def __init__(self):
        super().__init__()
        self.chosen, self.again = [], False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().split(".")[0] not in self.CHOICES:
            return func(*args, **(kwargs or {}))
        if not self.again:
            self.chosen.append(func(*args, **(kwargs or {})))
            return self.chosen[-1]
        return self.chosen.pop(0)


@pytest.mark.gpu
def test_bfloat16_autocast_stays_near_single_precision(network):
    scale_weights(network, 1 / network.enlarged)  # as initialised: rounding grows with the weights
    network, data = network.cuda(), to_device(sample((150, 40)), CUDA)
    with torch.no_grad(), SameBlocks() as blocks:
        wanted = network(data)["feat"]
        blocks.again = True
        with torch.autocast("cuda", torch.bfloat16):
            got = network(data)["feat"]
    assert not blocks.chosen
    assert (got.float() - wanted).norm() / wanted.norm() < 0.05  # as on the CPU, see test_properties.py


def mean_square_error(network, autocast):
    """batch -> its loss, over the points alone where the batch is padded.

    The targets differ by channel: the mean square itself of normalised features is nearly constant, and its gradient
    is what rounding leaves of sums that cancel.
    """

    def forward(batch):
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            feat = network(batch)["feat"].float()
        square = (feat - torch.linspace(-2, 2, feat.shape[1], device=feat.device)).square().mean(1)
        valid = batch.get(VALID, torch.ones_like(square))
        return dict(loss=(square * valid).sum() / valid.sum())

    return forward


def assert_same_step(graphed, eager, losses, tolerance):
    torch.testing.assert_close(*losses, rtol=tolerance, atol=0)
    left, right = (torch.cat([p.grad.flatten() for p in network.parameters()]) for network in (graphed, eager))
    assert (left - right).norm() <= tolerance * right.norm() and right.norm() > 0


@pytest.mark.gpu
@pytest.mark.parametrize(("autocast", "tolerance"), [(False, 1e-3), (True, 2e-2)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("network", CAPTURED, indirect=True)
def test_captured_steps_are_the_eager_ones(network, autocast, tolerance):
    """To rounding: a captured step adds up in another order.

    In bfloat16 Erwin with copies of points comes to 2.1%: there the eager step is up to 3% from the one in single
    precision, the captured one up to 1.4%.
    """
    scale_weights(network, 1 / network.enlarged)
    eager = network.to(CUDA).train()
    graphed = copy.deepcopy(eager)
    cast = torch.bfloat16 if autocast else None
    step = GraphedStep(graphed, mean_square_error(graphed, autocast), logging.getLogger("test"), cast)
    for seed in range(6):
        batch = to_device(sample((300, 1, 77), seed=seed), CUDA)
        eager.zero_grad()
        wanted = mean_square_error(eager, autocast)(batch)["loss"]
        wanted.backward()
        assert_same_step(graphed, eager, (step(batch)["loss"], wanted.detach()), tolerance)
    assert len(step.graphs) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("network", PADDED, indirect=True)
def test_padded_clouds_of_many_sizes_share_a_graph(network):
    scale_weights(network, 1 / network.enlarged)
    eager = network.to(CUDA).train()
    graphed = copy.deepcopy(eager)
    padding = graphed.padding(256)
    step = GraphedStep(graphed, mean_square_error(graphed, False), logging.getLogger("test"))
    for seed, points in enumerate((129, 256, 200, 150, 255, 131)):
        data = sample((points,), seed=seed)
        eager.zero_grad()
        wanted = mean_square_error(eager, False)(to_device(data, CUDA))["loss"]
        wanted.backward()
        loss = step(to_device(padding(data), CUDA))["loss"]
        assert_same_step(graphed, eager, (loss, wanted.detach()), 1e-3)
    assert len(step.graphs) == 1
