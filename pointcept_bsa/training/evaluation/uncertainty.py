"""How far a predicted variance can be trusted, over a test set: curves of coverage and sparsification, and a picture.

The numbers of each sample are metrics (``nll``, ``coverage_68``, ``coverage_95``, ``spread``, ``ause``), see
:mod:`pointcept_bsa.metrics`; here are the curves behind them, means over the samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointcept_bsa.files.atomic import write_png
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.metrics import DISTRIBUTION_METRICS, coverage, sparsification
from pointcept_bsa.models.heads import predicts_variance
from pointcept_bsa.samples import lengths
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.evaluation import of_all_processes
from pointcept_bsa.training.evaluation.target_fields import TargetField

PERCENT = np.arange(100)
FRACTIONS = PERCENT / 100  # of points taken away
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.7, 0.8, 0.9, 0.95, 0.99)
PICTURE = "uncertainty.png"


def with_uncertainty(metrics: Sequence[str], model: nn.Module) -> tuple[str, ...]:
    """The metrics, and those of distributions where the model predicts one."""
    more = DISTRIBUTION_METRICS if predicts_variance(unwrap(model)) else ()
    return tuple(dict.fromkeys([*metrics, *more]))


class UncertaintyCurves:
    """Collects the curves of each sample and field from outputs with ``variance`` (N, K); without one there are none.

    Those of a field of a domain are over the points of that domain.

    Args:
        fields: of the target.
    """

    def __init__(self, fields: Sequence[TargetField]) -> None:
        self.fields = fields
        self.records: list[dict[str, Any]] = []

    def __call__(self, batch: Mapping[str, Any], output: Mapping[str, Tensor]) -> None:
        """Take the batch and the model's output, physical units."""
        if "variance" not in output:
            return
        points = lengths(batch)
        values = [v.double().split(points) for v in (output["pred"], batch["target"], output["variance"])]
        domains = batch[DOMAIN].split(points) if DOMAIN in batch else [None] * len(points)
        for name, domain, *found in zip(batch["name"], domains, *values, strict=True):
            self.records.append({"name": name, **self.of_fields(found, domain)})

    def of_fields(self, values: Sequence[Tensor], domain: Tensor | None) -> dict[str, dict[str, list[float]]]:
        """The curves by field, of prediction, target and variance (N, K) of one sample."""
        found = {}
        for field in self.fields or (TargetField("all", 0, values[0].shape[1], ""),):
            own = [each[:, field.first : field.first + field.width] for each in values]
            if field.domain is not None and domain is not None:
                own = [each[domain == field.domain] for each in own]
            found[field.name] = curves(*own)
        return found

    def report(self) -> dict[str, Any] | None:
        """By field ``coverage`` at ``levels``, ``sparsification`` and ``oracle`` at ``removed``; None without any."""
        records = of_all_processes(self.records)
        if not records:
            return None
        means = {
            field: {key: np.mean([r[field][key] for r in records], 0).tolist() for key in records[0][field]}
            for field in records[0]
            if field != "name"
        }
        return {"levels": list(LEVELS), "removed": FRACTIONS.tolist(), "fields": means}

    def lines(self, report: Mapping[str, Any]) -> list[str]:
        """What is printed of a report."""
        at = [LEVELS.index(level) for level in (0.5, 0.68, 0.9, 0.95)]
        found = []
        for name, field in report["fields"].items():
            shares = ", ".join(f"{LEVELS[i]:.0%}: {field['coverage'][i]:.1%}" for i in at)
            found.append(f"Coverage of {name} (nominal: seen): {shares}")
        return found


def curves(pred: Tensor, target: Tensor, variance: Tensor) -> dict[str, list[float]]:
    """Coverage and both sparsification curves of one cloud, at ``LEVELS`` and ``FRACTIONS``."""
    offset = torch.tensor([len(pred)], device=pred.device)
    seen = [float(coverage(pred, target, offset, variance, level)) for level in LEVELS]
    found = [curve.cpu().numpy() for curve in sparsification(pred, target, variance)]
    left, oracle = (curve[PERCENT * len(curve) // 100].tolist() for curve in found)
    return {"coverage": seen, "sparsification": left, "oracle": oracle}


def draw_uncertainty(path: Path, report: Mapping[str, Any], ause: Mapping[str, float], title: str) -> None:
    """Write a PNG, a row a field: sparsification with its oracle, and coverage against the nominal level.

    Args:
        path: where to.
        report: of :class:`UncertaintyCurves`.
        ause: by field, the mean over the samples.
        title: heading.
    """
    from matplotlib.figure import Figure

    fields = report["fields"]
    figure = Figure(figsize=(10.5, 0.6 + 4.0 * len(fields)), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for i, (name, field) in enumerate(fields.items()):
        left = figure.add_subplot(len(fields), 2, 2 * i + 1)
        removed = 100 * np.asarray(report["removed"])
        left.axhline(1.0, color="0.6", linewidth=1.0, linestyle="--", label="at random")
        left.plot(removed, field["sparsification"], color="C1", linewidth=2.0, label="largest spread first")
        left.plot(removed, field["oracle"], color="0.15", linewidth=1.4, label="largest error first (oracle)")
        left.fill_between(removed, field["oracle"], field["sparsification"], color="C1", alpha=0.15, linewidth=0)
        left.set_title(f"{name}: area between the curves {ause[name]:.3g}" if name in ause else name, fontsize=10)
        left.set_xlabel("points taken away [%]")
        left.set_ylabel("error of the points left / of all (RMS)")
        left.set_xlim(0, 100)
        left.set_ylim(bottom=0)
        right = figure.add_subplot(len(fields), 2, 2 * i + 2)
        nominal = 100 * np.asarray(report["levels"])
        right.plot([0, 100], [0, 100], color="0.6", linewidth=1.0, linestyle="--", label="calibrated")
        right.plot(nominal, 100 * np.asarray(field["coverage"]), "o-", color="C0", markersize=4, label="seen")
        right.set_title(f"{name}: truth within the predicted interval", fontsize=10)
        right.set_xlabel("nominal level [%]")
        right.set_ylabel("values within [%]")
        right.set_xlim(0, 100)
        right.set_ylim(0, 100)
        for axes in (left, right):
            axes.grid(color="0.9")
            axes.legend(frameon=False, fontsize=9)
    write_png(path, figure)
