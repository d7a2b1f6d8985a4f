"""The learning-rate range test of tools/tune.py."""

from __future__ import annotations

import csv
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pointcept_bsa.analysis.tune.run import find_learning_rate, smoothed, steepest_rate
from pointcept_bsa.errors import InputError

sys.path.insert(0, str(Path(__file__).parent))  # spawned processes, too, import fake_trials by name
import fake_trials

pytest.importorskip("optuna", reason="missing: package optuna (part of the extra [test])")


@pytest.fixture
def make(tmp_path):
    return partial(fake_trials.wanted, tmp_path)


def test_the_range_test_finds_the_slope_and_the_valley(make):
    wanted = make(trials=None, budget=400)
    lines = []
    steepest, tenth = find_learning_rate(wanted, (1e-6, 1.0), fake_trials.ENGINE, lines.append)
    assert steepest == pytest.approx(1e-3, rel=0.2)
    assert 1e-3 <= tenth < 2e-3  # the fake loss is lowest a little above 1e-2
    assert f"optimizer.lr={tenth:.2g}" in lines[-1]
    with open(Path(wanted.output, "lr_range.csv"), encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 400
    assert Path(wanted.output, "lr_range.png").stat().st_size > 5000


def test_smoothing_keeps_a_constant_and_cuts_an_explosion():
    assert smoothed(np.full(50, 3.0)) == pytest.approx(3.0)
    loss = np.r_[np.full(40, 1.0), np.full(40, 0.5), np.full(20, 1e9)]
    smooth = smoothed(loss)
    assert smooth.max() <= 1.5 and 45 < smooth.argmin() < 75
    assert smoothed(-loss[:80]).min() == pytest.approx(-1.0)  # losses may be negative
    rate = np.geomspace(1e-4, 1, 100)
    assert steepest_rate(rate, smooth) == pytest.approx(rate[40], rel=0.2)


@pytest.mark.parametrize(
    ("rates", "change", "words"),
    [
        ((0.0, 1.0), {}, "--lr-range 0 1: expected 0 < LOW < HIGH"),
        ((1.0, 0.1), {}, "expected 0 < LOW < HIGH"),
        ((1e-5, float("inf")), {}, "expected 0 < LOW < HIGH"),
        ((1e-5, 1.0), dict(budget=5), "--budget 5: expected at least 20"),
    ],
)
def test_rates_that_are_none_are_refused(make, rates, change, words):
    with pytest.raises(InputError, match=words):
        find_learning_rate(make(**{"trials": None, "budget": 100, **change}), rates, fake_trials.ENGINE)
