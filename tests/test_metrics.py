"""Metrics against numbers worked by hand, and against each cloud by itself."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.metrics import METRICS

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
