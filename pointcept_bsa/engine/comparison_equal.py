"""Networks side by side at equal cost: what they reach with as many parameters, in as much time of training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from pointcept_bsa.engine.runs import Run

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
