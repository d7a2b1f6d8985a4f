"""Running a model over a data set and judging it sample by sample, in physical units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import comm
from pointcept_bsa.host.batch import to_device
from pointcept_bsa.metrics import METRICS

Record = dict[str, Any]  # {"name": str, "points": int, <metric>: float, ...} of one sample


def check_metrics(names: Sequence[str], argument: str) -> None:
    """Raise InputError unless all ``names`` are metrics."""
    for name in names:
        if name not in METRICS:
            hint = nearest(name, METRICS) or f"; wanted one of {sorted(METRICS)}"
            raise InputError(f"{argument}: got {name!r}, which is no metric{hint}")


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    metrics: Sequence[str],
    on_batch: Callable[[Mapping[str, Any], Tensor], None] | None = None,
) -> list[Record]:
    """Judge every sample once.

    Args:
        model: returns ``pred`` (N, K) in physical units in evaluation mode.
        batches: with ``coord``, ``target``, ``offset`` and ``name``.
        metrics: names from :data:`.METRICS`.
        on_batch: called with each batch and its prediction.

    Returns:
        One record a sample, sorted by name, gathered from all processes and without the repetitions that a
        distributed sampler adds.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    records: list[Record] = []
    try:
        for batch in batches:
            if "name" not in batch or "target" not in batch:
                raise InputError(f"batch: got keys {sorted(batch)}, wanted also 'name' and 'target' to evaluate")
            batch = to_device(batch, device)
            pred = model(batch)["pred"].double()
            records += judge(pred, batch["target"].double(), batch["offset"], batch["name"], metrics)
            if on_batch is not None:
                on_batch(batch, pred)
    finally:
        model.train(training)
    unique = {record["name"]: record for part in comm.all_gather(records) for record in part}
    return [unique[name] for name in sorted(unique)]


def judge(pred: Tensor, target: Tensor, offset: Tensor, names: Sequence[str], metrics: Sequence[str]) -> list[Record]:
    """Records of the clouds of one batch."""
    values = torch.stack([METRICS[m](pred, target, offset) for m in metrics], 1).tolist()
    points = torch.diff(offset, prepend=offset.new_zeros(1)).tolist()
    return [
        {"name": name, "points": n, **dict(zip(metrics, row, strict=True))}
        for name, n, row in zip(names, points, values, strict=True)
    ]


def summarize(records: Sequence[Record], metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation over the samples: {metric: {"mean": ..., "std": ...}}."""
    summary = {}
    for metric in metrics:
        values = torch.tensor([r[metric] for r in records], dtype=torch.float64)
        std = values.std().item() if len(values) > 1 else math.nan
        summary[metric] = {"mean": values.mean().item() if len(values) else math.nan, "std": std}
    return summary
