"""The runs of one config: what of their reports is compared, and at which density of the clouds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from pointcept_bsa.arguments.words import DENSITIES, UNITS
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import MODELS
from pointcept_bsa.metrics import METRICS, VECTOR_METRICS, base_metric, higher_is_better
from pointcept_bsa.training.runs.finished import Run, mean_and_std
from pointcept_bsa.training.runs.flat_config import canonical


@dataclass(frozen=True)
class Value:
    """A metric over the seeds: mean and sample standard deviation (nan for one) of the runs' means over samples."""

    mean: float
    std: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Group:
    """The runs of one config; of equal ``structure`` are configs of one backbone that differ in numbers alone."""

    label: str
    backbone: str
    structure: str
    runs: tuple[Run, ...]
    metrics: Mapping[str, Value]
    parameters: int | None
    gflops: float | None
    ms_per_iteration: float | None
    memory_mb: float | None
    train_seconds: float | None
    validation: str

    @property
    def seeds(self) -> str:
        return ", ".join("-" if run.seed is None else str(run.seed) for run in self.runs)


def group_of(runs: Sequence[Run], label: str, metrics: Sequence[str], units: str) -> Group:
    """The group of runs that differ by seed alone; ``units`` is a key of ``UNITS``."""
    values = {}
    for metric in metrics:
        each = tuple(_number(run.report[UNITS[units]][metric]["mean"]) for run in runs)
        values[metric] = Value(*mean_and_std(each), each)
    first = runs[0].report
    gflops = first.get("gflops") or {}
    times = [run.ms_per_iteration for run in runs if run.ms_per_iteration is not None]
    memory = [run.memory_mb for run in runs if run.memory_mb is not None]
    seconds = [run.train_seconds for run in runs if run.train_seconds is not None]
    kinds = dict.fromkeys(run.report.get("validation", {}).get("kind", "unknown") for run in runs)
    return Group(
        label=label,
        backbone=runs[0].backbone,
        structure=structure_of(first.get("backbone") or {}),
        runs=tuple(runs),
        metrics=values,
        parameters=first.get("parameters"),
        gflops=gflops.get("value"),
        ms_per_iteration=sum(times) / len(times) if times else None,
        memory_mb=max(memory, default=None),
        train_seconds=sum(seconds) / len(seconds) if seconds else None,
        validation=", ".join(kinds),
    )


def structure_of(backbone: Mapping[str, Any]) -> str:
    """What two configs of a backbone have in common where one is a larger or smaller size of the other.

    Its arguments, those that are not given at their defaults, and of numbers (widths, depths) only that there are some.
    """
    arguments = {**_defaults(backbone.get("type")), **backbone}
    return canonical({name: _without_numbers(value) for name, value in arguments.items()})


def _defaults(name: Any) -> dict[str, Any]:
    """Arguments of a registered backbone that need not be given; none of one that this package does not have."""
    registered = MODELS.get(name) if isinstance(name, str) else None
    if registered is None:
        return {}
    parameters = inspect.signature(registered).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def _without_numbers(value: Any) -> Any:
    """The value with "numbers" in the place of a number, and of a list of some."""
    if isinstance(value, Mapping):
        return {key: _without_numbers(each) for key, each in value.items()}
    items = value if isinstance(value, list | tuple) else [value]
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in items)
    return "numbers" if numbers else value


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def errors(run: Run, metric: str, units: str) -> dict[str, float]:
    """{sample: error, the smaller the better}; empty for a metric of which there is no ratio."""
    if base_metric(metric) not in (*METRICS, *VECTOR_METRICS):
        return {}
    found = {}
    for sample in run.report.get("samples", []):
        values = sample if units == "physical" else sample.get("normalized") or {}
        if isinstance(values.get(metric), int | float):
            found[sample["name"]] = 1 - values[metric] if higher_is_better(metric) else values[metric]
    return found


def at_density(runs: Sequence[Run], density: str) -> list[Run]:
    """The runs with the metrics of ``density``: "whole", "training", or "tested" (what the config of each says).

    A test of clouds with more points than those of training records both. Where they have no more, both are the same.

    Raises:
        InputError: another word; a report that does not have them.
    """
    if density not in DENSITIES:
        raise InputError(f"density: got {density!r}, wanted one of {list(DENSITIES)}{nearest(density, DENSITIES)}")
    key = DENSITIES[density]
    return list(runs) if key is None else [replace(run, report=_report(run, key)) for run in runs]


def _report(run: Run, key: str) -> dict[str, Any]:
    report, found = run.report, run.report.get(key)
    if found is None and report.get("approximation") is None:
        return report  # no cloud is denser than those of training
    samples = report.get("samples") or []
    if not _is_summary(found) or not all(isinstance(sample.get(key), dict) for sample in samples):
        raise InputError(f"density: {run.path} has no metrics {key!r}; test it again with tools/test.py")
    pieces = (
        f"pieces of {found['piece_points']} points, {found.get('votes')} vote(s)" if "piece_points" in found else None
    )
    return {
        **report,
        **{units: found[units] for units in UNITS.values()},
        "samples": [{**_named(sample), **sample[key]} for sample in samples],
        "approximation": pieces,
    }


def _is_summary(found: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(found, dict) and all(isinstance(found.get(units), dict) for units in UNITS.values())


def _named(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sample[name] for name in ("name", "points") if name in sample}
