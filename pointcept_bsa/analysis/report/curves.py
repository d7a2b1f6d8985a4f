"""The charts of a comparison: training, validation, and the errors of single samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pointcept_bsa.analysis.comparison.comparison import Comparison
from pointcept_bsa.analysis.comparison.group import Group
from pointcept_bsa.analysis.report.chart import Line, chart
from pointcept_bsa.training.runs.finished import Run

Points = list[tuple[float, float]]
MOST_METRICS = 3


def charts(comparison: Comparison) -> list[tuple[str, str | None]]:
    """(Heading, chart) of the training loss, validation metrics, learning rate, and the distribution of the first
    metric over the test samples."""
    groups = comparison.groups
    names = list(dict.fromkeys(name for group in groups for run in group.runs for name in run.validation_curve()))
    names = [name for name in comparison.metrics if name in names] or names
    found = [("Training loss", lines(groups, lambda run: run.training_curve("loss")), "iteration", "loss", False)]
    for name in names[:MOST_METRICS]:
        of = lines(groups, _validation(name))
        found.append((f"Validation, {name}, physical units", of, "iteration", name, False))
    rates = lines(groups, lambda run: run.training_curve("lr"))
    found.append(("Learning rate", rates, "iteration", "learning rate", False))
    metric = comparison.metrics[0]
    shares = [Line(share_below(run, metric), i, steps=True) for i, group in enumerate(groups) for run in group.runs]
    title = f"Test samples with {metric} below a value, physical units"
    found.append((title, shares, metric, "share of samples", True))
    return [(each[0], chart(*each)) for each in found]


def _validation(name: str) -> Callable[[Run], Sequence[tuple[float, float]]]:
    return lambda run: run.validation_curve().get(name, [])


def lines(groups: Sequence[Group], of: Callable[[Run], Sequence[tuple[float, float]]]) -> list[Line]:
    """A line a config: the mean over its seeds, with the seeds faintly behind it where there are several."""
    found = []
    for colour, group in enumerate(groups):
        each: list[Points] = [list(of(run)) for run in group.runs]
        each = [points for points in each if points]
        mean = mean_line(each)
        found += [Line(points, colour, faint=mean is not None) for points in each] if len(each) > 1 else []
        if mean is not None:
            found.append(Line(mean, colour))
    return found


def mean_line(each: Sequence[Points]) -> Points | None:
    """The mean over curves at the x values they all have; None where that is fewer than half of the shortest one's."""
    if not each:
        return None
    tables = [dict(points) for points in each]
    common = sorted(set.intersection(*(set(table) for table in tables)))
    if 2 * len(common) < min(map(len, tables)):
        return None
    return [(x, sum(table[x] for table in tables) / len(tables)) for x in common]


def share_below(run: Run, metric: str) -> Points:
    """The cumulative distribution of the metric over the test samples of a run, in physical units."""
    values = sorted(s[metric] for s in run.report.get("samples", []) if isinstance(s.get(metric), int | float))
    values = [value for value in values if math.isfinite(value)]
    return [(value, (i + 1) / len(values)) for i, value in enumerate(values)]
