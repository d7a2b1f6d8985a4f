"""Branches side by side: on the CPU, and outside of a captured graph, one after the other."""

from __future__ import annotations

import torch

from pointcept_bsa.ops.side_streams import SideBySide


def test_branches_run_in_place_where_nothing_is_captured():
    x = torch.ones(4, requires_grad=True)
    with SideBySide(x) as branches:
        assert not branches.at_work
        with branches.side_stream():
            a = 2 * x
        b = 3 * x
    assert branches.used == []
    assert torch.equal(torch.autograd.grad((a * b).sum(), x)[0], torch.full((4,), 12.0))
