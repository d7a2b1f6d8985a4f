"""Whether one network is better than another: a paired test over samples and seeds.

``S`` seeds, ``I`` samples. Both networks are tested on the same samples; each is trained with seeds of its own. What is
compared is the ratio of their errors on a sample, each error the geometric mean over the seeds, and of these ratios the
geometric mean over the samples.

Two tests have to agree before one is called better:

1.  a bootstrap over samples (the same ones for both) and over seeds (for each its own) of the logarithm of that ratio
    (Owen 2007, "The pigeonhole bootstrap", which errs on the side of too wide intervals). A bootstrap of three seeds
    spreads too little: deviations are widened by sqrt(n / (n - 1)) before, and the interval by the quantile of
    Student's t over that of the normal distribution after, with the degrees of freedom of Satterthwaite (1946);
2.  from ``FEWEST`` samples on, Wilcoxon's signed-rank test of the samples' ratios.

Where several are compared the p values are Holm's (1979). One seed says nothing about the next: then the word is
"ahead", for these weights.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pointcept_bsa.training.runs.finished import Run

LEVEL = 0.05
FEWEST = 6  # samples for Wilcoxon's test: with fewer its smallest p value is above LEVEL
RESAMPLES = 4000
CELLS = 4_000_000  # of an array, at most
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """``ratio`` of the errors, mine over the other's, with its 95% interval; below 1 mine is better.

    Attributes:
        samples, seeds: how many; seeds of both.
        p: the larger of the two tests' p values; ``adjusted``: for the number of comparisons.
        wilcoxon: its p value, None where there are too few samples.
    """

    ratio: float
    low: float
    high: float
    samples: int
    seeds: tuple[int, int]
    p: float
    adjusted: float
    wilcoxon: float | None

    @property
    def told_apart(self) -> bool:
        return self.adjusted < LEVEL and not self.low <= 1 <= self.high

    @property
    def word(self) -> str:
        """ "better", "worse", "not told apart"; "ahead", "behind" where a network has one seed only."""
        if not self.told_apart:
            return "not told apart"
        if min(self.seeds) < 2:
            return "ahead" if self.ratio < 1 else "behind"
        return "better" if self.ratio < 1 else "worse"


def paired_verdict(mine: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]]) -> Verdict | None:
    """Compare two networks.

    Args:
        mine, other: errors by the samples' names, a mapping for each seed.

    Returns:
        None where it cannot be said: fewer than two common samples, errors that are not positive numbers.
    """
    names = sorted(set.intersection(*(set(errors) for errors in (*mine, *other))))
    if len(names) < 2:
        return None
    errors = [np.array([[run[name] for name in names] for run in runs], dtype=np.float64) for runs in (mine, other)]
    if not all((np.isfinite(table) & (table > 0)).all() for table in errors):
        return None
    return _verdict(np.log(errors[0]), np.log(errors[1]))


def adjust(verdicts: Mapping[str, Verdict | None]) -> dict[str, Verdict | None]:
    """Holm's step-down adjustment of the p values of comparisons that are made together."""
    adjusted: dict[str, Verdict | None] = dict(verdicts)
    known = sorted((v.p, key) for key, v in verdicts.items() if v is not None)
    largest = 0.0
    for rank, (p, key) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        verdict = verdicts[key]
        assert verdict is not None
        adjusted[key] = replace(verdict, adjusted=largest)
    return adjusted


def _verdict(mine: Floats, other: Floats) -> Verdict:
    """Of logarithms (S, I)."""
    from scipy import stats  # takes a second to import

    difference = mine.mean(axis=0) - other.mean(axis=0)  # (I,)
    estimate = float(difference.mean())
    spread = _resampled(mine, other) - estimate  # (R,)
    error = float(spread.std())
    samples, seeds = len(difference), (len(mine), len(other))
    if error <= 1e-12 * max(1.0, abs(estimate)):  # no spread at all: equal, or a constant factor
        p = 1.0 if abs(estimate) <= 1e-12 else 0.0
        widening = 1.0
    else:
        freedom = _degrees_of_freedom(mine, other)
        p = float(2 * stats.t.sf(abs(estimate) / error, freedom))
        widening = float(stats.t.isf(LEVEL / 2, freedom) / stats.norm.isf(LEVEL / 2))
    low, high = estimate + widening * np.quantile(spread, [LEVEL / 2, 1 - LEVEL / 2])
    wilcoxon = None
    if samples >= FEWEST:
        wilcoxon = float(stats.wilcoxon(difference).pvalue) if np.any(difference != 0) else 1.0
        p = max(p, wilcoxon)
    return Verdict(
        math.exp(estimate),
        math.exp(low),
        high=math.exp(high),
        samples=samples,
        seeds=seeds,
        p=p,
        adjusted=p,
        wilcoxon=wilcoxon,
    )


def _resampled(mine: Floats, other: Floats) -> Floats:
    """(R,) mean differences of resampled seeds and samples."""
    draw = np.random.default_rng(0)
    samples = mine.shape[1]
    tables = [_widened(table, axis=0) for table in (mine, other)]
    # Deviations of the samples' differences are widened by widening those of what is subtracted, alike for all seeds.
    difference = tables[0].mean(axis=0) - tables[1].mean(axis=0)
    tables[0] = tables[0] + _widened(difference, axis=0) - difference
    found = []
    step = max(1, CELLS // samples)
    for first in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - first)
        weights = draw.multinomial(samples, np.full(samples, 1 / samples), count) / samples  # (R, I)
        means = []
        for table in tables:
            seeds = len(table)
            chosen = draw.multinomial(seeds, np.full(seeds, 1 / seeds), count) / seeds  # (R, S)
            means.append(np.einsum("rs,rs->r", chosen, weights @ table.T))
        found.append(means[0] - means[1])
    return np.concatenate(found)


def _widened(table: Floats, axis: int) -> Floats:
    """Deviations from the mean times sqrt(n / (n - 1)), so that resampling has the variance it should have."""
    count = table.shape[axis]
    if count < 2:
        return table
    mean = table.mean(axis=axis, keepdims=True)
    return mean + math.sqrt(count / (count - 1)) * (table - mean)


def _degrees_of_freedom(mine: Floats, other: Floats) -> float:
    """Of the variance of the mean difference: from the samples' differences, and from the seeds' means of each."""
    parts = [mine.mean(axis=0) - other.mean(axis=0), *(t.mean(axis=1) for t in (mine, other) if len(t) > 1)]
    variances = [float(part.var(ddof=1)) / len(part) for part in parts]
    squares = sum(v**2 / (len(part) - 1) for v, part in zip(variances, parts, strict=True))
    return max(sum(variances) ** 2 / squares, 1.0) if squares > 0 else 1.0


# Networks side by side at equal cost: what they reach with as many parameters, in as much time of training.

NEAR = 0.1  # numbers of parameters that differ by less are equal


def at_parameters(wanted: int, sizes: Sequence[tuple[int, float]]) -> float | None:
    """The error at ``wanted`` parameters of a backbone of which ``sizes`` [(parameters, error), ...] are known.

    That of the nearest size within ``NEAR``; else between two sizes that enclose it, along a straight line in the
    logarithms of both; else None: nothing is extrapolated.
    """
    known = sorted((count, error) for count, error in sizes if count > 0 and error > 0 and math.isfinite(error))
    near = [(abs(count / wanted - 1), error) for count, error in known if abs(count / wanted - 1) <= NEAR]
    if near:
        return min(near)[1]
    for (less, error_less), (more, error_more) in pairwise(known):
        if less < wanted < more:
            share = math.log(wanted / less) / math.log(more / less)
            return math.exp((1 - share) * math.log(error_less) + share * math.log(error_more))
    return None


def at_time(runs: Sequence[Run], metric: str, seconds: float) -> float | None:
    """The mean over the runs of the validation metric after ``seconds`` of training.

    Between two evaluations along a straight line; None where a run has no time, or no evaluation on either side.
    """
    values = [_read_off(run, metric, seconds) for run in runs]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _read_off(run: Run, metric: str, seconds: float) -> float | None:
    points = [(time, value) for _, time, value in run.timed_validation_curve().get(metric, []) if time is not None]
    if points and math.isclose(points[-1][0], seconds, rel_tol=1e-9):
        return points[-1][1]
    for (before, first), (after, second) in pairwise(points):
        if before <= seconds <= after and after > before:
            return first + (second - first) * (seconds - before) / (after - before)
    return None


def shortest_time(groups: Sequence[Sequence[Run]]) -> float | None:
    """The training time of the fastest run; None where one is not known."""
    times = [run.train_seconds for runs in groups for run in runs]
    known = [time for time in times if time is not None]
    return min(known) if known and len(known) == len(times) else None
