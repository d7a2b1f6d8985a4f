"""The kernels of ball attention, of narrow heads and of any, against plain torch."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.ops import ball_attention as ball

from .comparison import DTYPES, LENGTHS, compare, layout_of
from .interpreter import DEVICE, kernel_test, run_in_interpreter


def test_in_the_interpreter():
    run_in_interpreter(__file__)


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(
    "ball_size, heads, kv_heads, width",
    [(64, 2, 2, 8), (128, 3, 1, 8), (64, 4, 2, 12), (128 if DEVICE == "cpu" else 256, 4, 1, 16)],
)
def test_ball_attention(lengths, ball_size, heads, kv_heads, width, dtype):
    layout = layout_of(lengths, ball_size)
    slots = sum(layout.slots)
    projected = torch.randn(slots, heads + 2 * kv_heads, width, device=DEVICE)
    sigma = -torch.rand(heads, device=DEVICE)

    def run(function):
        def call(x, weight):
            q, k, v = x.split([heads, kv_heads, kv_heads], 1)  # strided, as in the layers
            return function(q, k, v, ball_size, coord=layout.coord, sigma=weight, valid=layout.valid)

        return call

    compare(run(ball.ball_attention), run(ball.reference.ball_attention), (projected, sigma), dtype)


@kernel_test
@pytest.mark.parametrize(
    "ball_size, width", [(16, 24), (64, 128), (64, 8)] + ([(512, 8), (512, 64)] if DEVICE == "cuda" else [])
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ball_attention_of_other_sizes_without_bias(ball_size, width, dtype):
    qkv = [torch.randn(ball_size * 2, 2, width, device=DEVICE) for _ in range(3)]
    compare(
        lambda *t: ball.ball_attention(*t, ball_size),
        lambda *t: ball.reference.ball_attention(*t, ball_size),
        qkv,
        dtype,
    )


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [8, 16])
def test_empty_ball_and_empty_slots_are_zero_and_silent(width, dtype):
    slots, m = 128, 64
    q, k, v = (torch.randn(slots, 2, width, device=DEVICE, dtype=dtype) for _ in range(3))
    valid = torch.arange(slots, device=DEVICE) < 40
    coord, sigma = torch.randn(slots, 2, device=DEVICE), -torch.rand(2, device=DEVICE)
    runs = []
    for noise in (0.0, 1e3):
        hidden = (noise * (~valid).view(-1, 1, 1)).to(dtype)
        leaves = [(t + hidden).requires_grad_() for t in (q, k, v)]
        out = ball.ball_attention(*leaves, m, coord=coord, sigma=sigma, valid=valid)
        runs.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a[:40], b[:40])
        assert not a[40:].any() and not b[40:].any()


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [8, 16])
def test_empty_slots_far_away_are_silent_where_sigma_is_positive(width, dtype):
    valid = torch.arange(128, device=DEVICE) % 5 > 0
    coord = torch.randn(128, 3, device=DEVICE) + 1e3 * (~valid).view(-1, 1)  # as they repeat any point of a cloud
    sigma = torch.tensor([0.1, 1.0], device=DEVICE)

    def run(function):
        return lambda *t: function(*t[:3], 64, coord=coord, sigma=t[3], valid=valid)

    inputs = *(torch.randn(128, 2, width, device=DEVICE) for _ in range(3)), sigma
    compare(run(ball.ball_attention), run(ball.reference.ball_attention), inputs, dtype)


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("noise", [torch.nan, torch.inf, 1e38])
def test_keys_of_empty_slots_may_be_no_numbers(noise, width, dtype):
    q, k, v = (torch.randn(128, 2, width, device=DEVICE, dtype=dtype) for _ in range(3))
    valid = torch.arange(128, device=DEVICE) % 5 > 0
    noisy = torch.where(valid.view(-1, 1, 1), k, torch.tensor(noise, device=DEVICE).to(dtype))  # float16: inf
    assert torch.equal(*(ball.ball_attention(q, keys, v, 64, valid=valid) for keys in (k, noisy)))
