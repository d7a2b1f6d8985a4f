"""The GPU computes what the CPU computes."""

from __future__ import annotations

import copy

import pytest
import torch

from .conftest import sample


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
