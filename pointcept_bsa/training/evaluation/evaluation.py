"""Running a model over a data set and judging it sample by sample, in physical and in normalised units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointcept_bsa.distributed.parts import sum_over_parts
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.host import comm
from pointcept_bsa.host.memory import OutOfMemory
from pointcept_bsa.metrics import CALIBRATION, DISTRIBUTION_METRICS, METRICS, VECTOR_METRICS, base_metric
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.bounded import AT_TRAINING, BoundedModel, evaluation_mode
from pointcept_bsa.training.evaluation.target_fields import Measure, TargetField, measures

# {"name": str, "points": int, <measure>: float, ...} of one sample; "normalized": {<measure>: float, ...} where asked
# for; the measures are those of ``target_fields``
Record = dict[str, Any]
TESTED = ("relative_l2", "mse", "rmse", "mae", "r2", "magnitude_mae", "angle")  # unless a test wants others
KNOWN = {**METRICS, **VECTOR_METRICS, **DISTRIBUTION_METRICS}


def check_metrics(names: Sequence[str], argument: str, key: str | None = None) -> None:
    """Raise InputError unless all ``names`` are metrics, and ``key`` is one, or one of a field ("velocity/mse").

    The ``key`` has to be one of which less, or more, is better.
    """
    for name in (*names, *(() if key is None else (base_metric(key),))):
        if name not in KNOWN:
            hint = nearest(name, KNOWN) or f"; wanted one of {sorted(KNOWN)}"
            raise InputError(f"{argument}: got {name!r}, which is no metric{hint}")
    if key is not None and base_metric(key) in CALIBRATION:
        raise InputError(
            f"{argument}: got key {key!r}, of which neither less nor more is better, wanted one of "
            f"{sorted(KNOWN.keys() - CALIBRATION)}"
        )


@torch.no_grad()
def evaluate(
    model: nn.Module | BoundedModel,
    batches: Iterable[Mapping[str, Any]],
    metrics: Sequence[str],
    judges: Sequence[Callable[[Mapping[str, Any], Mapping[str, Tensor]], None]] = (),
    normalized: bool = False,
    others: Mapping[str, BoundedModel] | None = None,
    fields: Sequence[TargetField] = (),
) -> list[Record]:
    """Judge every sample once.

    Args:
        model: returns ``pred`` (N, K) in physical units in evaluation mode (and ``variance`` (N, K) for ``"nll"``).
            A :class:`.BoundedModel` splits clouds that are too large; their records have ``pieces``.
        batches: with ``coord``, ``target``, ``offset`` and ``name``.
        metrics: names from :data:`.METRICS`, :data:`.VECTOR_METRICS` and :data:`.DISTRIBUTION_METRICS`.
        judges: called with each batch and all that the model has made of it.
        normalized: also judge in the units of the model's target normaliser (a model without one is left at that).
        others: the same model with clouds split otherwise, by name. A record has their metrics under that name (and
            ``pieces`` there), unless the memory was not enough for it.
        fields: of the target; of several each is judged by itself, see :mod:`.target_fields`.

    Returns:
        One record a sample, sorted by name, gathered from all processes and without the repetitions that a
        distributed sampler adds.
    """
    predict = model if isinstance(model, BoundedModel) else BoundedModel(model)
    model = predict.model
    device = next(model.parameters()).device
    normalizer = getattr(unwrap(model), "normalizer", None) if normalized else None
    wanted = Wanted(measures(metrics, fields), measures(metrics, fields, normalized=True))
    records: list[Record] = []
    with evaluation_mode(model):
        for batch in batches:
            if "name" not in batch or "target" not in batch:
                raise InputError(f"batch: got keys {sorted(batch)}, wanted also 'name' and 'target' to evaluate")
            batch = to_device(batch, device)
            output = predict(batch)
            found = judge_batch(batch, output, wanted, predict, normalizer)
            for name, other in (others or {}).items():
                add_other(found, name, other=other, first=predict, batch=batch, wanted=wanted, normalizer=normalizer)
            records += found
            for collect in judges:
                collect(batch, output)
    return of_all_processes(records)


def of_all_processes(records: Sequence[Record]) -> list[Record]:
    """One record a sample, sorted by name, without the repetitions that a distributed sampler adds."""
    unique = {record["name"]: record for part in comm.all_gather(records) for record in part}
    return [unique[name] for name in sorted(unique)]


class Wanted(NamedTuple):
    """What is measured in physical and in normalised units."""

    physical: Sequence[Measure]
    normalized: Sequence[Measure]


def judge_batch(
    batch: Mapping[str, Any],
    output: Mapping[str, Tensor],
    wanted: Wanted,
    predict: BoundedModel,
    normalizer: Any | None,
) -> list[Record]:
    """Records of the clouds of a batch, of which ``predict`` has made ``output``."""
    pred, target, variance = output["pred"].double(), batch["target"].double(), output.get("variance")
    clouds = batch["offset"], batch["name"]
    found = judge(pred, target, *clouds, wanted.physical, variance, batch.get(DOMAIN))
    if normalizer is not None:
        scaled = variance / normalizer.std.double().square() if variance is not None else None
        pair = normalizer.normalize(pred), normalizer.normalize(target)
        others = judge(*pair, *clouds, wanted.normalized, scaled, batch.get(DOMAIN))
        for record, other in zip(found, others, strict=True):
            record["normalized"] = {measure.name: other[measure.name] for measure in wanted.normalized}
    return [mark(record, predict.pieces.get(record["name"])) for record in found]


def add_other(
    records: list[Record],
    name: str,
    other: BoundedModel,
    first: BoundedModel,
    batch: Mapping[str, Any],
    wanted: Wanted,
    normalizer: Any | None,
) -> None:
    """Add to a batch's records what ``other`` makes of it, which is known where it splits clouds as ``first``."""
    found = records
    if other.plan(batch) != first.plan(batch):
        try:
            output = other(batch)
        except OutOfMemory:
            return
        found = judge_batch(batch, output, wanted, other, normalizer)
    keys = (*(measure.name for measure in wanted.physical), "normalized", "pieces")
    for record, judged in zip(records, found, strict=True):
        record[name] = {key: judged[key] for key in keys if key in judged}


def mark(record: Record, pieces: int | None) -> Record:
    """The record, with ``pieces`` if the cloud's prediction was put together from so many."""
    return record if pieces is None else {**record, "pieces": pieces}


def judge(
    pred: Tensor,
    target: Tensor,
    offset: Tensor,
    names: Sequence[str],
    wanted: Sequence[Measure],
    variance: Tensor | None = None,
    domain: Tensor | None = None,
) -> list[Record]:
    """Records of the clouds of one batch.

    ``variance`` (N, K) is that of a predicted distribution, ``domain`` (N,) says whose a point is.
    """
    values = torch.stack([_value(m, pred, target, offset, variance, domain) for m in wanted], 1).tolist()
    points = sum_over_parts(torch.diff(offset, prepend=offset.new_zeros(1))).tolist()
    return [
        {"name": name, "points": n, **dict(zip((measure.name for measure in wanted), row, strict=True))}
        for name, n, row in zip(names, points, values, strict=True)
    ]


def _value(
    measure: Measure, pred: Tensor, target: Tensor, offset: Tensor, variance: Tensor | None, domain: Tensor | None
) -> Tensor:
    """(B,) values of one measure."""
    plain = {**METRICS, **VECTOR_METRICS}
    if measure.metric in plain:
        return measure.apply(plain[measure.metric], (pred, target), offset, domain)
    if variance is None:
        raise InputError(
            f"metrics: got {measure.metric!r}, but the model predicts no 'variance'; wanted {sorted(plain)}"
        )
    function = DISTRIBUTION_METRICS[measure.metric]
    return measure.apply(function, (pred, target), offset, domain, variance.to(pred.dtype))


def other_way(records: Sequence[Record], name: str) -> list[Record]:
    """What the records have under the name of a way of :func:`.both_ways`; empty where that way was not gone.

    Whole clouds are all of them, none in pieces; at the density of training some of them are in pieces.
    """
    found = [record[name] for record in records if name in record]
    split = any("pieces" in record for record in found)
    return found if len(found) == len(records) and split == (name == AT_TRAINING) else []


def summarize(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation over the samples: {name of a measure: {"mean": ..., "std": ...}}."""
    summary = {}
    for metric in names:
        values = torch.tensor([r[metric] for r in records], dtype=torch.float64)
        std = values.std().item() if len(values) > 1 else math.nan
        summary[metric] = {"mean": values.mean().item() if len(values) else math.nan, "std": std}
    return summary


def told(summary: Mapping[str, Mapping[str, float]]) -> str:
    """A summary in a line: "mse 0.05 +- 0.01, ..."; of a single sample the values alone."""
    parts = []
    for name, s in summary.items():
        spread = f" +- {s['std']:.3g}" if math.isfinite(s["std"]) else ""
        parts.append(f"{name} {s['mean']:.5g}{spread}")
    return ", ".join(parts)


# The table of metrics that a test prints.


def metric_lines(
    report: Mapping[str, Any], remark: str | None = None, units: Mapping[str, str] | None = None
) -> list[str]:
    """The printed table of ``metrics`` and ``metrics_normalized``; with a heading where there is a ``remark``.

    Where several fields have units of their own these stand beside the names.
    """
    physical, normalized = report["metrics"], report["metrics_normalized"]
    own = {name: unit for name, unit in (units or {}).items() if "/" in name and unit != "1"}
    names = {name: f"{name} [{own[name]}]" if name in own else name for name in physical}
    names |= {name: f"all fields/{name}" for name in normalized if name not in physical}
    width = max(14, *(len(text) + 2 for text in names.values()))
    lines = [f"{'metric':<{width}}{'mean':>14}{'std':>14}{'normalised':>14}{'std':>14}  {remark}"] if remark else []
    for name, text in names.items():
        cells = [part.get(name) for part in (physical, normalized)]
        numbers = [f"{s['mean']:>14.6g}{_spread(s['std']):>14}" if s else " " * 28 for s in cells]
        lines.append(f"{text:<{width}}{''.join(numbers)}".rstrip())
    return lines


def _spread(std: float) -> str:
    return f"{std:.6g}" if math.isfinite(std) else "-"  # a single sample has none
