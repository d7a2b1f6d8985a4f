"""RMSNorm equals its formula number by number (Zhang and Sennrich 2019, eq. 4)."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.layers.norm import RMSNorm

from .by_hand import compare, numbers, randomized


@pytest.mark.parametrize("eps", [None, 0.5])
@pytest.mark.parametrize("shape", [(7, 5), (1, 5), (2, 3, 5), (4, 1)])
def test_it_is_its_formula_row_by_row(shape, eps):
    norm, x = randomized(RMSNorm(shape[-1])), numbers(*shape)
    norm.eps = eps
    added = torch.finfo(torch.float64).eps if eps is None else eps
    rows = []
    for row in x.flatten(0, -2):
        mean = sum(number * number for number in row) / len(row)
        rows.append(
            torch.stack([number / (mean + added).sqrt() * w for number, w in zip(row, norm.weight, strict=True)])
        )
    compare(norm(x), torch.stack(rows).view(shape), {"x": x, "weight": norm.weight})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_row_of_zeros_stays_zero_with_a_finite_gradient(dtype):
    norm, x = RMSNorm(6).to(dtype), torch.zeros(2, 6, dtype=dtype, requires_grad=True)
    out = norm(x)
    assert out.dtype == dtype and not out.any()
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.isfinite().all() and norm.eps_of(x) == torch.finfo(dtype).eps


def test_it_is_the_same_norm_of_each_row_and_of_rows_of_any_size():
    norm, x = randomized(RMSNorm(6)), numbers(9, 6, grad=False)
    out = norm(x)
    torch.testing.assert_close(norm(1e3 * x), out)
    torch.testing.assert_close(torch.cat([norm(x[:2]), norm(x[2:3]), norm(x[3:])]), out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.float()(x.float()).double(), out, rtol=1e-5, atol=1e-6)


def test_it_starts_as_torchs_and_takes_its_checkpoints():
    ours, torchs = RMSNorm(6), torch.nn.RMSNorm(6)
    assert torch.equal(ours.weight, torch.ones(6))
    torchs.weight.data.uniform_()
    ours.load_state_dict(torchs.state_dict())
    x = torch.randn(5, 6)
    torch.testing.assert_close(ours(x), torchs(x))
