"""Predicted numbers of whole clouds, judged over the samples of a set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pointcept_bsa.samples import SCALARS
from pointcept_bsa.training.evaluation.evaluation import of_all_processes

# How well numbers of whole samples, as drag or lift, are predicted: scores over the samples of a set.

Scores = dict[str, dict[str, Any]]


def sample_scores(pred: np.ndarray, target: np.ndarray, names: Sequence[str], units: Sequence[str]) -> Scores:
    """By name: ``unit``, ``r2``, ``mae``, ``bias`` and, of the target, ``mean`` and ``std`` over the samples.

    r2 = 1 - sum (pred - target)^2 / sum (target - mean)^2 over the samples: 1 is perfect, 0 as good as the mean of the
    set; None of a target that does not vary (of one sample, too). mae = mean |pred - target|, bias = mean (pred -
    target).

    Args:
        pred, target: (n, S).
        names, units: of the S numbers.
    """
    pred, target = np.asarray(pred, np.float64), np.asarray(target, np.float64)
    error, spread = pred - target, np.square(target - target.mean(0)).sum(0)
    r2 = 1 - np.square(error).sum(0) / np.where(spread > 0, spread, 1.0)
    return {
        name: {
            "unit": unit,
            "r2": float(r2[i]) if spread[i] > 0 else None,
            "mae": float(np.abs(error[:, i]).mean()),
            "bias": float(error[:, i].mean()),
            "mean": float(target[:, i].mean()),
            "std": float(target[:, i].std()),
        }
        for i, (name, unit) in enumerate(zip(names, units, strict=True))
    }


def score_lines(title: str, scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A printed table."""
    heads = ("r2", "mae", "bias", "mean", "std")
    width = max(14, *(len(f"{name} [{score['unit']}]") + 2 for name, score in scores.items()))
    lines = [f"{title:<{width}}{''.join(f'{head:>12}' for head in heads)}  (mean and std of the truth)"]
    for name, score in scores.items():
        cells = ["-" if score[head] is None else f"{score[head]:.5g}" for head in heads]
        lines.append(f"{name + ' [' + score['unit'] + ']':<{width}}{''.join(f'{cell:>12}' for cell in cells)}")
    return lines


class ScalarErrors:
    """Collects true and predicted ``scalars`` (B, S), physical units; of models that predict none there is no report.

    Args:
        dataset: which has their names and units.
    """

    def __init__(self, dataset: Any) -> None:
        self.names = tuple(getattr(dataset, "scalar_names", ()))
        self.units = tuple(getattr(dataset, "scalar_units", ()))
        self.records: list[dict[str, Any]] = []

    def __call__(self, batch: Mapping[str, Any], output: Mapping[str, Tensor]) -> None:
        """Take the batch and the model's output."""
        if SCALARS not in output or SCALARS not in batch:
            return
        rows = zip(batch["name"], batch[SCALARS].double().tolist(), output[SCALARS].double().tolist(), strict=True)
        self.records += [{"name": name, "true": true, "predicted": predicted} for name, true, predicted in rows]

    def report(self) -> dict[str, Any] | None:
        """``scores`` of each scalar, and the ``samples``; None without any."""
        records = of_all_processes(self.records)
        if not records:
            return None
        pred, true = (np.array([record[key] for record in records]) for key in ("predicted", "true"))
        named = [
            {key: value if key == "name" else dict(zip(self.names, value, strict=True)) for key, value in each.items()}
            for each in records
        ]
        return {"scores": sample_scores(pred, true, self.names, self.units), "samples": named}

    def lines(self, report: Mapping[str, Any]) -> list[str]:
        """What is printed of a report."""
        return score_lines("scalar", report["scores"])

    def curves(self) -> dict[str, float]:
        """{"drag/mae": ..., "drag/r2": ...} for the curves of a training; none without any."""
        scores = (self.report() or {}).get("scores", {})
        found = {f"{name}/{key}": score[key] for name, score in scores.items() for key in ("mae", "r2")}
        return {name: value for name, value in found.items() if value is not None}
