"""The GPU computes what the CPU computes."""

from __future__ import annotations

import copy

import pytest
import torch

from .conftest import sample


@pytest.mark.gpu
def test_cuda_equals_cpu(network):
    lengths = (300, 1, 77)
    data = sample(lengths)
    on_gpu = {k: v.cuda() for k, v in data.items()}
    other = copy.deepcopy(network).cuda()
    outs = [net(d)["feat"] for net, d in ((network, data), (other, on_gpu))]
    assert torch.allclose(outs[0], outs[1].cpu(), atol=1e-3, rtol=1e-3)  # weights are 8 times the usual
    for out in outs:
        out.square().mean().backward()
    for (name, a), b in zip(network.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad.cpu(), atol=1e-3, rtol=1e-2), name
