"""Measures of predicted distributions: against numpy, and on data whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from pointcept_bsa.metrics import DISTRIBUTION_METRICS, coverage, gaussian_nll, sparsification, sparsification_error
from pointcept_bsa.training.evaluation.uncertainty import (
    FRACTIONS,
    LEVELS,
    UncertaintyCurves,
    curves,
    draw_uncertainty,
)

LENGTHS = (50, 1, 23)
ENDS = torch.tensor(LENGTHS).cumsum(0)


def fields(channels=2, seed=0):
    rng = np.random.default_rng(seed)
    shape = (sum(LENGTHS), channels)
    return rng.normal(size=shape), rng.normal(size=shape), rng.uniform(0.1, 2.0, size=shape)


def clouds(*arrays):
    starts = [0, *ENDS.tolist()]
    return [tuple(a[i:j] for a in arrays) for i, j in zip(starts[:-1], starts[1:], strict=True)]


def tensors(*arrays):
    return tuple(torch.tensor(a) for a in arrays)


def oracle(name, pred, target, variance):
    """One cloud, the slow way."""
    std, error = np.sqrt(variance), target - pred
    if name == "nll":
        return -norm.logpdf(target, pred, std).mean()
    if name.startswith("coverage"):
        level = int(name[-2:]) / 100
        return np.mean(np.abs(error) <= norm.ppf((1 + level) / 2) * std)
    if name == "spread":
        return math.sqrt(variance.mean())
    squares, doubt = (error**2).sum(1), variance.sum(1)
    areas = []
    for k in range(len(squares)):
        left = np.delete(squares, np.argsort(-doubt)[:k])
        best = np.delete(squares, np.argsort(-squares)[:k])
        areas.append(math.sqrt(left.mean() / squares.mean()) - math.sqrt(best.mean() / squares.mean()))
    return np.mean(areas)


@pytest.mark.parametrize("name", DISTRIBUTION_METRICS)
def test_every_measure_is_that_of_numpy(name):
    arrays = fields()
    pred, target, variance = tensors(*arrays)
    got = DISTRIBUTION_METRICS[name](pred, target, ENDS, variance)
    assert got.numpy() == pytest.approx([oracle(name, *cloud) for cloud in clouds(*arrays)], rel=1e-10, abs=1e-12)


def test_calibrated_data_are_covered_as_they_should_be():
    """20,000 values: four standard errors are under 1.5%."""
    rng = np.random.default_rng(1)
    variance = rng.uniform(0.01, 4.0, size=(20_000, 1))
    pred = rng.normal(size=variance.shape)
    target = pred + np.sqrt(variance) * rng.normal(size=variance.shape)
    end = torch.tensor([len(pred)])
    arguments = (*tensors(pred, target), end)
    for level in LEVELS:
        assert float(coverage(*arguments, torch.tensor(variance), level)) == pytest.approx(level, abs=0.015)
    assert float(coverage(*arguments, torch.tensor(variance / 4), 0.95)) == pytest.approx(
        2 * norm.cdf(1.96 / 2) - 1, abs=0.015
    )
    best = float(gaussian_nll(*arguments, torch.tensor(variance)))
    assert all(best < float(gaussian_nll(*arguments, torch.tensor(variance * factor))) for factor in (0.5, 2.0))


def test_a_variance_that_knows_the_errors_loses_nothing_and_a_constant_one_is_flat():
    pred, target, _ = tensors(*fields(1))
    known = (target - pred).square()
    assert sparsification_error(pred, target, ENDS, known).numpy() == pytest.approx(0, abs=1e-12)
    assert sparsification_error(pred, target, ENDS, 7 * known).numpy() == pytest.approx(0, abs=1e-12)
    left, best = sparsification(pred[:50], target[:50], torch.ones(50, 1))
    assert left.numpy() == pytest.approx(1) and float(best[0]) == pytest.approx(1)
    assert (best.diff() <= 1e-12).all()
    against = sparsification_error(pred[:50], target[:50], ENDS[:1], 1 / known[:50])
    assert float(against) > float((1 - best).mean())  # worse than at random


def test_the_order_of_points_does_not_matter_even_where_variances_are_equal():
    pred, target, variance = tensors(*fields())
    variance = variance.round()
    order = torch.randperm(50)
    whole = sparsification_error(pred[:50], target[:50], ENDS[:1], variance[:50])
    turned = sparsification_error(pred[:50][order], target[:50][order], ENDS[:1], variance[:50][order])
    assert float(turned) == pytest.approx(float(whole), rel=1e-12)


def test_a_prediction_without_error_is_zero():
    pred, _, variance = tensors(*fields())
    assert (sparsification_error(pred, pred, ENDS, variance) == 0).all()


def test_a_curve_has_at_each_percent_what_is_left_without_so_many_points():
    """Of 100 points k are away at k percent, of 150 (3 k) // 2: also at 29, 57 and 58, where a float falls short."""
    for points in (100, 150):
        error = torch.arange(points, 0.0, -1, dtype=torch.float64)[:, None]  # the first point has the largest
        field = curves(torch.zeros_like(error), error, error)
        squares = np.arange(points, 0.0, -1) ** 2
        left = [math.sqrt(squares[k * points // 100 :].mean() / squares.mean()) for k in range(100)]
        assert field["oracle"] == pytest.approx(left, rel=1e-12)


def test_curves_are_means_over_the_samples_and_are_drawn(tmp_path):
    pred, target, variance = tensors(*fields())
    judge = UncertaintyCurves(())
    assert judge.report() is None
    batch = dict(offset=ENDS, name=["a", "b", "c"], target=target)
    judge(batch, dict(pred=pred))
    assert judge.report() is None
    judge(batch, dict(pred=pred, variance=variance))
    report = judge.report()
    field = report["fields"]["all"]
    shares = [[float(coverage(*cloud[:2], torch.tensor([len(cloud[0])]), cloud[2], level)) for level in LEVELS]
              for cloud in clouds(pred, target, variance)]  # fmt: skip
    assert field["coverage"] == pytest.approx(np.mean(shares, 0))
    first = [sparsification(*cloud)[0][int(0.5 * len(cloud[0]))] for cloud in clouds(pred, target, variance)]
    assert field["sparsification"][list(FRACTIONS).index(0.5)] == pytest.approx(float(np.mean(first)))
    assert "68%" in judge.lines(report)[0]
    draw_uncertainty(tmp_path / "u.png", report, {"all": 0.1}, "three clouds")
    assert (tmp_path / "u.png").read_bytes()[:4] == b"\x89PNG"
