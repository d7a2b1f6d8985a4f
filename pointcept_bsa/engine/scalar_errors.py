"""Predicted numbers of whole clouds, judged over the samples of a set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from pointcept_bsa.engine.sample_scores import sample_scores, score_lines
from pointcept_bsa.geometry.padding import SCALARS
from pointcept_bsa.host import comm


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
        unique = {record["name"]: record for part in comm.all_gather(self.records) for record in part}
        records = [unique[name] for name in sorted(unique)]
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
