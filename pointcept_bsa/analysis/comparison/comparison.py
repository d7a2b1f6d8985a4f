"""Runs side by side: mean and standard deviation over seeds, costs, published results; only what can be compared.

A row is a config; its runs differ by seed alone. Runs whose data, samples or length of training differ are
refused, and those whose test is not of the weights that lie in their folder.
Whether a row is better than another is said by :mod:`.statistics` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.comparison.group import Group, errors, group_of
from pointcept_bsa.analysis.comparison.statistics import (
    FEWEST,
    NEAR,
    Verdict,
    adjust,
    at_parameters,
    at_time,
    paired_verdict,
    shortest_time,
)
from pointcept_bsa.arguments.words import UNITS
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.metrics import higher_is_better
from pointcept_bsa.training.evaluation.published import chosen_by, published_for
from pointcept_bsa.training.runs.finished import Run
from pointcept_bsa.training.runs.flat_config import canonical

# What must be the same for numbers to be comparable; None means not recorded.
CHECKS: dict[str, Callable[[Run], Any]] = {
    "data set": lambda run: run.card.get("dataset"),
    "protocol": lambda run: run.card.get("protocol"),
    "split": lambda run: run.card.get("split"),
    "hash of the test samples": lambda run: run.card.get("split_hash"),
    "points of the test samples": lambda run: _points(run),
    "target": lambda run: ", ".join(run.card.get("target", [])) or None,
    "evaluation": lambda run: run.report.get("approximation") or "whole clouds",
    "hash of the training samples": lambda run: run.report.get("training", {}).get("split_hash"),
    "validation": lambda run: run.report.get("validation", {}).get("kind"),
    "iterations": lambda run: run.iterations,
    "clouds an iteration": lambda run: run.clouds_per_iteration,
}


@dataclass(frozen=True)
class AtEqual:
    """What the groups reach at an equal cost: ``heading`` of the column, a value for each label where there is one."""

    heading: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """Groups, what differs between them that must not (``--force``), and what else is to be said.

    Attributes:
        reference: label of the group with which the others are compared; None: there is one group.
        verdicts: {metric: {label: of the group against the reference, None where no test is possible}}.
        leaders: {metric: labels of the best mean and of those that are not told apart from it}.
        equal: columns for equal cost, of the first metric.
        headings: {metric: what stands above its column}: with the unit where each field of the target has its own.
    """

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]
    units: str
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    published: tuple[Mapping[str, Any], ...] = field(default=())
    reference: str | None = None
    verdicts: Mapping[str, Mapping[str, Verdict | None]] = field(default_factory=dict)
    leaders: Mapping[str, frozenset[str]] = field(default_factory=dict)
    equal: tuple[AtEqual, ...] = ()
    headings: Mapping[str, str] = field(default_factory=dict)


def compare(
    runs: Sequence[Run],
    metrics: Sequence[str] | None = None,
    units: str = "physical",
    force: bool = False,
    reference: str | None = None,
) -> Comparison:
    """Group runs by config and put the groups side by side.

    Args:
        runs: see :func:`.find_runs`.
        metrics: names; None: all that every run has.
        units: "physical" or "normalized" (of each model's target normaliser).
        force: compare what must not be compared; the differences are part of the result.
        reference: label or path of the config with which the others are compared; None: the first.

    Raises:
        InputError: runs that cannot be compared, with what differs; a metric that a run has not; unknown units, an
            unknown reference.
    """
    if units not in UNITS:
        raise InputError(f"units: got {units!r}, wanted one of {list(UNITS)}{nearest(units, UNITS)}")
    stale = [f"{run.path}: {run.stale}" for run in runs if run.stale is not None]
    differences = [*stale, *_differences(runs), *_same_seeds(runs)]
    if differences and not force:
        raise InputError(f"these runs cannot be compared: {'; '.join(differences)} (--force compares them anyway)")
    chosen = _metrics(runs, metrics, units)
    parts = _grouped(runs)
    labels = _labels([part[0].name for part in parts])
    groups = tuple(group_of(part, label, chosen, units) for part, label in zip(parts, labels, strict=True))
    chief = _reference(groups, reference)
    verdicts = {metric: _verdicts(groups, chief, metric, units) for metric in chosen}
    leaders = {metric: _leaders(groups, metric, units) for metric in chosen}
    equal = _at_equal(groups, chief, chosen[0], units)
    tests = {tuple(run.card.get(key) for key in ("dataset", "protocol", "split", "split_hash")) for run in runs}
    differing = {"rows": [], "reason": "the runs' tests differ"}
    samples = [sample for run in runs for sample in run.report.get("samples") or ()]
    found: dict[str, Any] = published_for(runs[0].card, samples) if len(tests) == 1 else differing
    published = tuple(r for r in found["rows"] if r["units"] == units and r["metric"] in chosen)
    notes = [*_notes(runs, groups), *_test_notes(groups, chief, verdicts[chosen[0]]), *_equal_notes(equal)]
    if found["rows"] and not published:
        other = sorted({f"{r['metric']} in {r['units']} units" for r in found["rows"]})
        notes.append(f"published results of this protocol are of {', '.join(other)}")
    elif not found["rows"] and found["reason"]:
        notes.append(f"published: {found['reason']}")
    notes += list(dict.fromkeys(f"published: {r['note']}" for r in published if "note" in r))
    if published:
        notes.append(f"published: weights are chosen so: {found['validation']}")
    label = None if chief is None else chief.label
    known = (label, verdicts, leaders, equal, _headings(runs, chosen, units))
    return Comparison(groups, chosen, units, tuple(differences), tuple(notes), published, *known)


def _differences(runs: Sequence[Run]) -> list[str]:
    """One text for each thing that is not the same in all runs."""
    found = []
    for what, of in CHECKS.items():
        owners: dict[Any, list[str]] = {}
        for run in runs:
            value = of(run)
            if value is not None:
                owners.setdefault(value, []).append(str(run.path))
        if len(owners) > 1:
            shown = ", ".join(f"{value!r} in {_first(paths)}" for value, paths in owners.items())
            found.append(f"{what}: {shown}")
    return found


def _points(run: Run) -> int | None:
    """Of all test samples together: the same names with other numbers of points are another test."""
    counts = [sample.get("points") for sample in run.report.get("samples") or []]
    known = [count for count in counts if isinstance(count, int)]
    return sum(known) if known and len(known) == len(counts) else None


def _first(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _same_seeds(runs: Sequence[Run]) -> list[str]:
    """Runs of one config and one seed are one run: they say nothing about the spread."""
    found = []
    for part in _grouped(runs):
        seeds = [run.seed for run in part if run.seed is not None]
        for seed in sorted(set(seeds)):
            if seeds.count(seed) > 1:
                paths = [str(run.path) for run in part if run.seed == seed]
                found.append(f"seed {seed} of the same config comes {len(paths)} times: {', '.join(paths)}")
    return found


def _grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of equal config together, in the order they came."""
    parts: dict[str, list[Run]] = {}
    for run in runs:
        content = run.config if run.config is not None else [run.report.get("backbone"), str(run.path)]
        parts.setdefault(canonical(content), []).append(run)
    return list(parts.values())


def _labels(names: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that tell them apart; numbered where whole paths are the same."""
    parts = [Path(name).parts for name in names]
    deepest = max(map(len, parts))
    for length in range(1, deepest + 1):
        labels = ["/".join(part[-length:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{name} ({index + 1})" for index, name in enumerate(names)]


def _metrics(runs: Sequence[Run], wanted: Sequence[str] | None, units: str) -> tuple[str, ...]:
    available = [list(run.report.get(UNITS[units]) or {}) for run in runs]
    common = [metric for metric in available[0] if all(metric in names for names in available)]
    for run, names in zip(runs, available, strict=True):
        for metric in wanted or ():
            if metric not in names:
                raise InputError(
                    f"metrics: {run.path} has no {metric!r} in {units} units, it has {names}{nearest(metric, names)}"
                )
    if not common:
        raise InputError(f"units: not every run has metrics in {units} units; test them again with tools/test.py")
    return tuple(wanted) if wanted else tuple(common)


def _headings(runs: Sequence[Run], metrics: Sequence[str], units: str) -> dict[str, str]:
    """Of metrics of single fields with their units, where the reports agree on these; the others as they are called."""
    found = {}
    for metric in metrics:
        own = [(run.report.get("metric_units") or {}).get(metric) for run in runs]
        alike = isinstance(own[0], str) and own[0] != "1" and own.count(own[0]) == len(own)
        found[metric] = f"{metric} [{own[0]}]" if alike and "/" in metric and units == "physical" else metric
    return found


def _notes(runs: Sequence[Run], groups: Sequence[Group]) -> list[str]:
    card = runs[0].card
    notes = [
        f"{card.get('dataset')}, protocol {card.get('protocol')}, split {card.get('split')} "
        f"({card.get('num_samples')} samples, hash {card.get('split_hash')}), units {', '.join(card.get('units', []))}",
        "metrics: per sample, averaged over the samples; +- is the sample standard deviation over seeds",
    ]
    statements = dict.fromkeys(chosen_by(run.report) for run in runs)
    notes += [f"validation: {statement}" for statement in statements]
    unknown = [what for what, of in CHECKS.items() if any(of(run) is None for run in runs)]
    if any(run.report.get("weight_sha256") is None and Path(run.path, "model").is_dir() for run in runs):
        unknown.append("the weights that were tested")
    if unknown:
        notes.append(f"not recorded in every run, so not checked: {', '.join(unknown)}")
    single = [group.label for group in groups if len(group.runs) == 1]
    if single:
        notes.append(f"one seed only, no deviation: {', '.join(single)}")
    devices = dict.fromkeys(run.environment["device"] for run in runs if "device" in run.environment)
    if devices:
        where = "times and memory are of" if len(devices) == 1 else "TIMES ARE OF DIFFERENT DEVICES:"
        notes.append(f"{where} {', '.join(devices)}; ms an iteration is the median over readings, memory the peak")
    return notes


def _reference(groups: Sequence[Group], wanted: str | None) -> Group | None:
    """The group that ``wanted`` names; None where there is one group alone."""
    if wanted is None:
        return groups[0] if len(groups) > 1 else None
    for group in groups:
        names = {group.label, *(str(run.path) for run in group.runs), *(run.name for run in group.runs)}
        if wanted in names or str(Path(wanted)) in names:
            return group if len(groups) > 1 else None
    labels = [group.label for group in groups]
    raise InputError(f"--reference {wanted!r}: no config of that name, wanted one of {labels}{nearest(wanted, labels)}")


def _verdict(mine: Group, other: Group, metric: str, units: str) -> Verdict | None:
    return paired_verdict(*([errors(run, metric, units) for run in group.runs] for group in (mine, other)))


def _verdicts(groups: Sequence[Group], chief: Group | None, metric: str, units: str) -> dict[str, Verdict | None]:
    """Of each group but ``chief`` against it, adjusted for their number."""
    if chief is None:
        return {}
    return adjust({group.label: _verdict(group, chief, metric, units) for group in groups if group is not chief})


def _leaders(groups: Sequence[Group], metric: str, units: str) -> frozenset[str]:
    """The best mean and what is not told apart from it, by the tests of all pairs: the best is found, not given.

    None where no pair can be tested: one sample tells nothing apart.
    """
    finite = [group for group in groups if math.isfinite(group.metrics[metric].mean)]
    if len(finite) < 2:
        return frozenset()
    pick = max if higher_is_better(metric) else min
    first = pick(finite, key=lambda group: group.metrics[metric].mean)
    pairs = {f"{i} {j}": _verdict(finite[i], finite[j], metric, units) for i, j in combinations(range(len(finite)), 2)}
    if all(verdict is None for verdict in pairs.values()):
        return frozenset()
    verdicts = adjust(pairs)
    place = finite.index(first)
    together = {first.label}
    for index, group in enumerate(finite):
        verdict = verdicts.get(f"{min(index, place)} {max(index, place)}")
        if index != place and (verdict is None or not verdict.told_apart):
            together.add(group.label)
    return frozenset(together)


def _at_equal(groups: Sequence[Group], chief: Group | None, metric: str, units: str) -> tuple[AtEqual, ...]:
    """Columns for equal parameters (the reference's) and for equal time of training (the fastest run's)."""
    found = []
    if chief is not None and chief.parameters and not higher_is_better(metric):
        values = {}
        for group in groups:
            sizes = [(g.parameters, g.metrics[metric].mean) for g in groups if g.structure == group.structure]
            own = (group.parameters, group.metrics[metric].mean)
            near = group.parameters is not None and abs(group.parameters / chief.parameters - 1) <= NEAR
            known = [own] if near else sizes
            value = at_parameters(chief.parameters, [(count, error) for count, error in known if count is not None])
            if value is not None:
                values[group.label] = value
        if len(values) > 1:
            found.append(AtEqual(f"{metric} at {chief.parameters:,} parameters", values))
    seconds = shortest_time([group.runs for group in groups])
    if chief is not None and seconds is not None and units == "physical":
        timed = {group.label: at_time(group.runs, metric, seconds) for group in groups}
        values = {label: value for label, value in timed.items() if value is not None}
        if len(values) > 1:
            found.append(AtEqual(f"validation {metric} after {seconds:.4g} s", values))
    return tuple(found)


def _test_notes(groups: Sequence[Group], chief: Group | None, verdicts: Mapping[str, Verdict | None]) -> list[str]:
    """How better and worse were found."""
    if chief is None:
        return []
    known = [verdict for verdict in verdicts.values() if verdict is not None]
    if not known:
        common = set.intersection(*({s["name"] for s in r.report.get("samples", [])} for g in groups for r in g.runs))
        if len(common) < 2:
            return [f"no paired test and nothing in bold: {len(common)} common test samples, wanted at least 2"]
        return ["no paired test and nothing in bold: of the common test samples some errors are 0 or not finite"]
    samples = known[0].samples
    seeds = ", ".join(f"{len(group.runs)} ({group.label})" for group in groups)
    which = f"bootstrap of samples and seeds, 95%{' and Wilcoxon signed-rank' if samples >= FEWEST else ''}"
    few = "" if samples >= FEWEST else f"; fewer than {FEWEST} samples, so no Wilcoxon test"
    holm = f", Holm for {len(known)} comparisons" if len(known) > 1 else ""
    notes = [
        f"against {chief.label}: ratio of the errors on a sample (geometric mean, 95% interval) and the verdict of a "
        f"paired test ({which}{holm}) over {samples} samples and these seeds: {seeds}{few}; r2 is judged by 1 - r2",
        "bold: the best mean and what the tests of all pairs do not tell apart from it",
    ]
    if any(min(verdict.seeds) < 2 for verdict in known):
        notes.append("ahead, behind: one seed only, so of these weights and not of the network")
    return notes


def _equal_notes(equal: Sequence[AtEqual]) -> list[str]:
    notes = []
    for column in equal:
        if "parameters" in column.heading:
            how = (
                f"the error itself where the numbers differ by less than {NEAR:.0%}, else between two sizes of the "
                f"same backbone, which differ in numbers alone, on either side (straight in the logarithms), else empty"
            )
        else:
            how = (
                "the training time of the fastest run (steps alone, without evaluations); between two evaluations "
                "along a straight line; a slower run is at that time in the middle of its schedule"
            )
        notes.append(f"{column.heading}: {how}")
    return notes
