"""Published results, each with its source and protocol, and when one's own may stand beside them.

The numbers are in ``published.json``. They are shown only beside a test of the same data set and protocol, on its whole
test split; otherwise it is said which protocols the published ones used and why nothing is compared. A metric of one of
several fields of a target is named as in a report, "velocity/mse".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from pointcept_bsa.files.json_file import parse_json
from pointcept_bsa.metrics import higher_is_better
from pointcept_bsa.training.evaluation.provenance import UNKNOWN

Row = dict[str, Any]  # {"model", "metric", "units", "value", "source", "table", "note"?}


@cache
def published_table() -> dict[str, Any]:
    """The content of ``published.json``: version, sources, protocols, results."""
    return parse_json(
        files("pointcept_bsa.training.evaluation").joinpath("published.json").read_bytes(), "published.json"
    )


def published_for(
    card: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]] = (),
    table: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What is published for the test that a data set's card describes.

    Args:
        card: ``dataset``, ``protocol``, ``split`` and ``num_samples`` of what was tested.
        samples: of the test's report; where they tell their ``points``, these have to be all points of the protocol.
        table: of published results; by default ours, :func:`published_table`.

    Returns:
        ``rows``: published results of the same protocol, best first within a metric; empty where there is nothing to
        compare with. ``reason``: why it is empty, else "". ``validation``: how the papers choose their weights.
    """
    table = published_table() if table is None else table
    dataset, protocol = card.get("dataset"), card.get("protocol")
    known = [p for p in table["protocols"] if p["dataset"] == dataset]
    same = [p for p in known if p["protocol"] == protocol]
    if not known:
        return _nothing(f"no published results of {dataset} are in the table")
    if not same:
        used = "; ".join(f"{p['protocol']!r} ({p['description']})" for p in known)
        return _nothing(
            f"no comparison: this test is of protocol {protocol!r}, the published results of {dataset} are of {used}; "
            "other samples were trained on and tested"
        )
    wanted = same[0]["test_samples"]
    if card.get("split") != "test" or wanted not in (None, card.get("num_samples")):
        return _nothing(
            f"no comparison: published results of protocol {protocol!r} are of "
            f"{'its' if wanted is None else wanted} test samples, this is of {card.get('num_samples')} samples of the "
            f"split {card.get('split')!r}"
        )
    points = {sample["points"] for sample in samples if isinstance(sample.get("points"), int)}
    if same[0].get("points") is not None and points - {same[0]["points"]}:
        tested = " to ".join(map(str, sorted({min(points), max(points)})))
        return _nothing(
            f"no comparison: published results of protocol {protocol!r} are of all {same[0]['points']} points of a "
            f"sample, this test is of {tested} points"
        )
    rows = [r for r in table["results"] if r["dataset"] == dataset and r["protocol"] == protocol]
    rows = [{**r, "source": table["sources"][r["source"]]["short"]} for r in rows]
    metrics = list(dict.fromkeys((r["metric"], r["units"]) for r in rows))
    rows.sort(key=lambda r: (metrics.index((r["metric"], r["units"])), _badness(r["metric"], r["value"])))
    return {"rows": rows, "reason": "", "validation": same[0]["validation"]}


def _nothing(reason: str) -> dict[str, Any]:
    return {"rows": [], "reason": reason, "validation": None}


def _badness(metric: str, value: float) -> float:
    return -value if higher_is_better(metric) else value


def own_value(report: Mapping[str, Any], metric: str, units: str) -> float | None:
    """The mean of ``metric`` in a test's report, in those units; None where it was not measured."""
    part = report.get("metrics" if units == "physical" else "metrics_normalized") or {}
    value = part.get(metric, {}).get("mean")
    return value if value is not None and math.isfinite(value) else None


def comparison_lines(report: Mapping[str, Any], table: Mapping[str, Any] | None = None) -> list[str]:
    """A table of published results with the tested model in its place, or one line that says why there is none."""
    found = published_for(report["data"], report.get("samples") or (), table)
    if found["rows"] and report.get("approximation"):
        found = _nothing("no comparison: large clouds were predicted in pieces, published results are of whole clouds")
    if not found["rows"]:
        return [f"Published: {found['reason']}"]
    name = f"-> this run, {report['backbone'].get('type')}"
    lines = [f"Published results of the same protocol ({report['data']['dataset']}, {report['data']['protocol']}):"]
    for metric, units in dict.fromkeys((r["metric"], r["units"]) for r in found["rows"]):
        rows = [r for r in found["rows"] if (r["metric"], r["units"]) == (metric, units)]
        entries = [(r["value"], r["model"], f"{r['source']}, {r['table']}") for r in rows]
        own = own_value(report, metric, units)
        if own is not None:
            entries.append((own, name, f"seed {report.get('seed')}"))
            entries.sort(key=lambda entry: _badness(metric, entry[0]))
        lines.append(f"  {metric}, {units} units" + ("" if own is not None else ": not measured in this test"))
        lines += [f"    {value:>12.6g}  {model}  ({where})" for value, model, where in entries]
        lines += [f"    note: {note}" for note in dict.fromkeys(r["note"] for r in rows if "note" in r)]
    lines.append(f"  how weights are chosen there: {found['validation']}; here: {chosen_by(report)}")
    return lines


def chosen_by(report: Mapping[str, Any]) -> str:
    """What a report says about the samples that chose the weights."""
    return report.get("validation", {}).get("statement", UNKNOWN)
