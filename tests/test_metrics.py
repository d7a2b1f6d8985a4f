"""Metrics against numbers worked by hand, and against each cloud by itself."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.metrics import METRICS, gaussian_nll

PRED = torch.tensor([[1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
TARGET = torch.tensor([[1.0, 2.0], [4.0, 2.0], [1.0, 1.0]])
OFFSET = torch.tensor([2, 3])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mse", (8 / 4, 4 / 2)),
        ("rmse", (2**0.5, 2**0.5)),
        ("mae", (4 / 4, 2 / 2)),
        ("relative_l2", ((8 / 25) ** 0.5, (4 / 2) ** 0.5)),
    ],
)
def test_value(name, values):
    assert METRICS[name](PRED, TARGET, OFFSET).tolist() == pytest.approx(values)


def test_r2_is_one_for_the_truth_and_zero_for_the_mean():
    target = torch.randn(7, 2)
    offset = torch.tensor([7])
    mean = target.mean(0, keepdim=True).expand(7, 2)
    assert METRICS["r2"](target, target, offset).item() == pytest.approx(1)
    assert METRICS["r2"](mean, target, offset).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_each_cloud_is_judged_by_itself(name):
    pred, target = torch.randn(9, 3), torch.randn(9, 3)
    both = METRICS[name](pred, target, torch.tensor([4, 9]))
    for i, rows in enumerate((slice(0, 4), slice(4, 9))):
        alone = METRICS[name](pred[rows], target[rows], torch.tensor([len(pred[rows])]))
        assert both[i].item() == pytest.approx(alone.item(), rel=1e-5)


def test_gaussian_nll_is_that_of_the_normal_distribution():
    variance = torch.tensor([[1.0, 4.0], [0.25, 1.0], [2.0, 0.5]])
    expected = -torch.distributions.Normal(PRED, variance.sqrt()).log_prob(TARGET)
    found = gaussian_nll(PRED, TARGET, OFFSET, variance)
    assert found.tolist() == pytest.approx([expected[:2].mean().item(), expected[2].mean().item()])
    # One point, one channel: (4 / 2 + log 2 + log 2 pi) / 2.
    one = gaussian_nll(torch.zeros(1, 1), torch.full((1, 1), 2.0), torch.tensor([1]), torch.full((1, 1), 2.0))
    assert one.item() == pytest.approx((2 + math.log(2) + math.log(2 * math.pi)) / 2)


def test_physical_nll_is_the_normalised_one_and_the_log_of_the_scale():
    variance, std = torch.rand(3, 2) + 0.1, torch.tensor([2.0, 10.0])
    normalised = gaussian_nll(PRED, TARGET, OFFSET, variance)
    physical = gaussian_nll(PRED * std, TARGET * std, OFFSET, variance * std**2)
    assert (physical - normalised).tolist() == pytest.approx([math.log(20) / 2] * 2, rel=1e-4)
