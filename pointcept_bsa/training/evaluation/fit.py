"""How well a network fits in the end, in a word: no better than a constant, overfits, underfits, or neither."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.host.weight import of_other_weights
from pointcept_bsa.training.evaluation.bounded import evaluation_mode
from pointcept_bsa.training.evaluation.evaluation import of_all_processes
from pointcept_bsa.training.evaluation.running_statistics import errors_of, some_batches
from pointcept_bsa.training.evaluation.target_fields import TargetField, pooled_relative_l2, target_fields
from pointcept_bsa.training.runs.finished import Run, tested

AS_A_CONSTANT = 0.95  # of the constant's error, from which on a network is no better
OVERFITS = 1.5  # validation error over training error
UNDERFITS = 0.5  # of the constant's error, still there in training


@dataclass(frozen=True)
class Fit:
    """Relative L2 errors, each a mean over samples; of several fields together in normalised units.

    Attributes:
        training: of ``samples`` training samples, as they are trained on (augmented, at their density).
        validation: of the validation samples, at the density of training where they were judged at it.
        constant: of the mean training target on the validation samples; None where it is not known.
        samples: how many training samples.
    """

    training: float
    validation: float
    constant: float | None
    samples: int

    def verdict(self) -> str:
        """One line: a word, the errors, what to do."""
        constant = "" if self.constant is None else f", of a constant {self.constant:.3g}"
        errors = (
            f"relative_l2 {self.training:.3g} on {self.samples} training samples, {self.validation:.3g} on "
            f"validation{constant}"
        )
        if self.constant is not None and not self.validation < AS_A_CONSTANT * self.constant:
            if self.training < UNDERFITS * self.constant:
                return f"Fit: OVERFITS, and is NO BETTER THAN A CONSTANT on new samples: {errors}; {MORE_DATA}"
            return (
                f"Fit: NO BETTER THAN A CONSTANT: {errors}; look at the inputs (feat_keys), units, learning rate "
                "(tools/tune.py --lr-range) and the number of iterations"
            )
        if not self.validation <= OVERFITS * self.training:
            return f"Fit: OVERFITS: {errors}; {MORE_DATA}"
        if self.constant is not None and self.training > UNDERFITS * self.constant:
            return (
                f"Fit: UNDERFITS: {errors}; more iterations, a larger network, another learning rate (tools/tune.py), "
                "or inputs that say more"
            )
        return f"Fit: neither over- nor underfits: {errors}"


MORE_DATA = "more samples or augmentation help most; else fewer frequency bands, a smaller network, more weight_decay"


def training_errors(model: nn.Module, dataset: Any, clouds: int) -> list[float]:
    """Relative L2 of the model, in evaluation mode, on some samples of the training set, evenly over it."""
    with evaluation_mode(model):
        fields = target_fields(dataset)
        return [error for batch in some_batches(model, dataset, clouds) for error in errors_of(model, batch, fields)]


class ConstantErrors:
    """Collects the relative L2 of the mean training target on the samples of the batches it is called with.

    ``errors`` and ``value`` are of the samples of all processes, each once; all processes ask for them together.
    """

    def __init__(self, model: nn.Module, fields: Sequence[TargetField] = ()) -> None:
        self.model, self.fields = model, fields
        normalizer = getattr(model, "normalizer", None)
        self.mean: Tensor | None = getattr(normalizer, "mean", None)
        self.records: list[dict[str, Any]] = []

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any], output: Any) -> None:
        if self.mean is None or self.mean.shape[-1] != batch["target"].shape[-1]:
            return
        target = batch["target"].double()
        constant = self.mean.to(target).expand_as(target)
        errors = pooled_relative_l2(self.model, self.fields, constant, target, batch).tolist()
        self.records += [{"name": name, "error": e} for name, e in zip(batch["name"], errors, strict=True)]

    @property
    def errors(self) -> list[float]:
        """One a sample, in the order of their names."""
        return [record["error"] for record in of_all_processes(self.records)]

    @property
    def value(self) -> float | None:
        """Their mean; None without any."""
        errors = self.errors
        return statistics.fmean(errors) if errors else None


# Whether a tested network is better than predicting the mean of its training targets everywhere.

KEY = "constant"  # of a report
WARNING = "warning"  # of the metadata of exported weights


def compared_with_constant(network: float, errors: Iterable[float]) -> dict[str, float] | None:
    """What a test's report keeps under ``KEY``: means over the test samples of two relative L2 errors.

    Args:
        network: that of the network.
        errors: of the constant, a number a sample; none where it is not known.

    Returns:
        ``{"relative_l2": of the constant, "network": of the network}``.
    """
    found = list(errors)
    return {"relative_l2": sum(found) / len(found), "network": network} if found else None


def constant_warning(report: Mapping[str, Any]) -> str | None:
    """A line about a test whose network is no better than the constant; None where it is, or nothing is known."""
    found = report.get(KEY)
    network, constant = (found.get("network"), found.get("relative_l2")) if isinstance(found, Mapping) else (None, None)
    if not isinstance(constant, int | float):
        return None
    network = network if isinstance(network, int | float) else math.nan  # JSON has null for it
    if network < AS_A_CONSTANT * constant:
        return None
    return (
        f"NO BETTER THAN A CONSTANT: relative_l2 {network:.3g} on the test samples, of the mean of the training "
        f"targets {constant:.3g}; what this network predicts says nothing"
    )


def constant_warnings(runs: Iterable[Run]) -> list[str]:
    """The lines of finished runs, with their paths."""
    return [f"{run.path}: {line}" for run in runs if (line := constant_warning(run.report)) is not None]


def warning_of_folder(folder: Path | None) -> str | None:
    """The line of the test of the weights that lie in the folder of a run; None without such a test."""
    report = tested(folder)
    if folder is None or report is None or of_other_weights(folder, report) is not None:
        return None
    return constant_warning(report)
