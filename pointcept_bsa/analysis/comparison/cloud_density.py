"""Reports of tests at one density: whole clouds, or pieces of as many points as the clouds of training had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from pointcept_bsa.arguments.words import DENSITIES, UNITS
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.training.runs.finished import Run


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
