"""Better, worse, or not told apart: numbers whose right verdict is known, and how often the test errs."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.analysis.comparison.statistics import LEVEL, Verdict, adjust, paired_verdict


def runs_of(table):
    """(S, I) errors as a mapping by sample for each seed."""
    return [{f"s{i}": value for i, value in enumerate(row)} for row in table]


def errors(draw, seeds, samples, seed=0.1, sample=0.1, rest=0.05, shift=0.0, difficulty=None):
    """Errors of a network: what its seeds, the samples for this network, and chance make of the samples' difficulty."""
    level = draw.normal(0, 0.5, samples) if difficulty is None else difficulty
    noise = draw.normal(0, seed, (seeds, 1)) + draw.normal(0, sample, samples) + draw.normal(0, rest, (seeds, samples))
    return np.exp(level + shift + noise)


def test_a_factor_on_every_sample_is_found_and_reversed():
    draw = np.random.default_rng(0)
    other = errors(draw, 3, 10, seed=0.02, sample=0)
    mine = 0.8 * other * np.exp(draw.normal(0, 0.02, other.shape))
    verdict = paired_verdict(runs_of(mine), runs_of(other))
    assert (
        verdict.word == "better" and verdict.low < 0.8 < verdict.high < 1 and verdict.ratio == pytest.approx(0.8, 0.02)
    )
    assert (verdict.samples, verdict.seeds) == (10, (3, 3)) and verdict.wilcoxon < 0.01
    back = paired_verdict(runs_of(other), runs_of(mine))
    assert back.word == "worse" and back.ratio == pytest.approx(1 / verdict.ratio)
    assert (back.low, back.high) == pytest.approx((1 / verdict.high, 1 / verdict.low), rel=0.02)


def test_the_ratio_is_the_geometric_mean_over_seeds_and_samples():
    mine, other = [[1.0, 8.0], [4.0, 2.0]], [[1.0, 1.0]]
    assert paired_verdict(runs_of(mine), runs_of(other)).ratio == pytest.approx(64 ** (1 / 4))


def test_equal_networks_are_not_told_apart():
    table = errors(np.random.default_rng(0), 3, 8)
    verdict = paired_verdict(runs_of(table), runs_of(table))
    assert (verdict.word, verdict.ratio) == ("not told apart", 1.0) and verdict.low <= 1 <= verdict.high


def test_one_sample_far_ahead_among_many_behind_is_not_better():
    """A mean ratio well below 1 that a single sample makes: neither test is convinced."""
    other = np.ones((3, 10))
    mine = np.full((3, 10), 1.02) * np.exp(np.random.default_rng(0).normal(0, 0.01, (3, 10)))
    mine[:, 0] = 0.01
    verdict = paired_verdict(runs_of(mine), runs_of(other))
    assert verdict.ratio < 0.7 and verdict.word == "not told apart"


def test_seeds_that_disagree_are_not_better_whatever_the_samples_say():
    """On every single sample the mean over the seeds is ahead, but one seed of three is behind on all of them."""
    other = np.ones((3, 50))
    mine = np.array([[0.7], [0.75], [1.3]]) * np.ones((3, 50)) * np.exp(np.random.default_rng(0).normal(0, 0.01, 50))
    verdict = paired_verdict(runs_of(mine), runs_of(other))
    assert verdict.ratio < 0.9 and verdict.wilcoxon < 1e-6 and verdict.word == "not told apart"


def test_one_seed_says_ahead_at_most():
    draw = np.random.default_rng(0)
    other = errors(draw, 1, 12)
    verdict = paired_verdict(runs_of(0.5 * other * np.exp(draw.normal(0, 0.05, other.shape))), runs_of(other))
    assert verdict.told_apart and verdict.word == "ahead"
    assert paired_verdict(runs_of(other), runs_of(0.5 * other)).word == "behind"


def test_few_samples_have_no_wilcoxon_test():
    other = np.exp(np.random.default_rng(0).normal(0, 0.01, (3, 4)))
    verdict = paired_verdict(runs_of(0.5 * other), runs_of(other[:, ::-1]))
    assert verdict.wilcoxon is None and verdict.word == "better"


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ([{"a": 1.0, "b": 0.0}], [{"a": 1.0, "b": 1.0}]),
        ([{"a": 1.0, "b": float("nan")}], [{"a": 1.0, "b": 1.0}]),
        ([{"a": 1.0, "b": -1.0}], [{"a": 1.0, "b": 1.0}]),
        ([{"a": 1.0}], [{"a": 1.0}]),
        ([{"a": 1.0, "b": 1.0}], [{"c": 1.0, "d": 1.0}]),
        ([{}], [{}]),
    ],
)
def test_where_there_is_no_ratio_there_is_no_verdict(mine, other):
    assert paired_verdict(mine, other) is None


def test_only_common_samples_count():
    verdict = paired_verdict([{"a": 1.0, "b": 2.0, "c": 9.0}], [{"b": 1.0, "a": 2.0, "d": 1.0}])
    assert verdict.samples == 2 and verdict.ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seeds", "samples", "spread"),
    [
        (3, 4, dict(seed=0.1, sample=0.1, rest=0.1)),
        (3, 10, dict(seed=0.0, sample=0.1, rest=0.1)),
        (3, 10, dict(seed=0.3, sample=0.05, rest=0.05)),  # the seeds are all the difference
        (3, 40, dict(seed=0.1, sample=0.1, rest=0.1)),
        (2, 10, dict(seed=0.1, sample=0.1, rest=0.1)),
        (1, 10, dict(seed=0.0, sample=0.1, rest=0.1)),
    ],
)
def test_equal_networks_are_told_apart_no_more_often_than_the_level_says(seeds, samples, spread):
    """400 pairs of networks of one distribution; 32 is what a true rate of 5% exceeds once in 300 times."""
    draw, errs = np.random.default_rng(1), 0
    for _ in range(400):
        difficulty = draw.normal(0, 0.5, samples)
        tables = [errors(draw, seeds, samples, difficulty=difficulty, **spread) for _ in range(2)]
        errs += paired_verdict(*map(runs_of, tables)).told_apart
    assert errs <= 32


def test_a_real_difference_is_found():
    draw, found = np.random.default_rng(1), 0
    for _ in range(50):
        difficulty = draw.normal(0, 0.5, 20)
        tables = [errors(draw, 3, 20, seed=0.05, difficulty=difficulty, shift=shift) for shift in (-0.3, 0.0)]
        found += paired_verdict(*map(runs_of, tables)).word == "better"
    assert found >= 45


def verdict_with(p):
    return Verdict(0.5, 0.4, 0.6, 10, (3, 3), p, p, p)


def test_holm_by_hand():
    found = adjust({"a": verdict_with(0.01), "b": verdict_with(0.04), "c": verdict_with(0.03), "d": None})
    assert {key: v and v.adjusted for key, v in found.items()} == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": None}
    )
    assert [v.word for v in found.values() if v] == ["better", "not told apart", "not told apart"]


def test_among_five_equal_networks_one_is_rarely_called_better():
    draw, families = np.random.default_rng(2), 0
    for _ in range(150):
        difficulty = draw.normal(0, 0.5, 8)
        tables = [runs_of(errors(draw, 3, 8, difficulty=difficulty)) for _ in range(5)]
        verdicts = adjust({str(i): paired_verdict(table, tables[0]) for i, table in enumerate(tables[1:])})
        families += any(v.told_apart for v in verdicts.values())
    assert families <= 2 * LEVEL * 150
