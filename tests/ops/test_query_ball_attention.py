"""The kernel of queries in balls of other points against plain torch, and plain torch against loops."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.ops.ball_attention import queries

from .interpreter import DEVICE, kernel_test, run_in_interpreter

BALL, BALLS, ROWS = 32, 3, 16


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def inputs(heads=4, kv_heads=4, width=8, dtype=torch.float32, dims=3):
    slots = BALL * BALLS
    tiles = torch.tensor([0, 2, 2, 1], device=DEVICE)
    q = torch.randn(len(tiles) * ROWS, heads, width, device=DEVICE).to(dtype)
    both = torch.randn(slots, 2, kv_heads, width, device=DEVICE).to(dtype)
    valid = torch.rand(slots, device=DEVICE) > 0.3
    at, coord = torch.randn(len(q), dims, device=DEVICE), torch.randn(slots, dims, device=DEVICE)
    sigma = -torch.rand(heads, device=DEVICE)
    return q, both[:, 0], both[:, 1], tiles, BALL, at, coord, sigma, valid


@pytest.mark.parametrize("biased", [True, False])
def test_the_reference_is_the_equation(biased):
    q, k, v, tiles, size, at, coord, sigma, valid = (
        x.cpu().double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in inputs(kv_heads=2)
    )
    tiles, valid = tiles.cpu(), valid.cpu()
    bias = (at, coord, sigma) if biased else (None, None, None)
    found = queries.reference(q, k, v, tiles, size, *bias, valid)
    for i in range(0, len(q), 7):
        first = int(tiles[i // ROWS]) * size
        seen = [s for s in range(first, first + size) if valid[s]]
        for head in range(4):
            keys, values = k[seen, head // 2], v[seen, head // 2]
            scores = keys @ q[i, head] / math.sqrt(8)
            if biased:
                scores = scores + sigma[head] * (coord[seen] - at[i]).norm(dim=1)
            torch.testing.assert_close(found[i, head], scores.softmax(0) @ values)


@kernel_test
@pytest.mark.parametrize(("masked", "biased"), [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [(dict(), 1e-5), (dict(kv_heads=1, width=20, dims=2), 1e-5), (dict(dtype=torch.bfloat16), 2e-2)],
    ids=["float32", "shared keys", "bfloat16"],
)
def test_the_kernel_is_plain_torch(options, tolerance, masked, biased):
    q, k, v, tiles, size, at, coord, sigma, valid = inputs(**options)
    bias = dict(at=at, coord=coord, sigma=sigma) if biased else {}
    mask = valid if masked else None
    found = queries.query_ball_attention(q, k, v, tiles, size, valid=mask, **bias)
    single = [x.float() for x in (q, k, v)]
    wanted = queries.reference(*single, tiles, size, *([at, coord, sigma] if biased else [None] * 3), mask)
    assert found.dtype == q.dtype
    torch.testing.assert_close(found.float(), wanted, rtol=tolerance, atol=tolerance)


def test_gradients_are_those_of_plain_torch():
    q, k, v, tiles, size, at, coord, sigma, valid = inputs()
    q.requires_grad_()
    queries.query_ball_attention(q, k, v, tiles, size, at=at, coord=coord, sigma=sigma, valid=valid).sum().backward()
    assert q.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="at, coord: got None"):
        queries.reference(q, k, v, tiles, size, None, None, sigma, valid)
