"""Whether running statistics of norms fit single clouds: the same training samples in both modes."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pointcept_bsa.host import collate_fn
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.evaluation.bounded import evaluation_mode
from pointcept_bsa.training.evaluation.target_fields import TargetField, pooled_relative_l2, target_fields

MUCH = 1.5  # errors whose ratio is above this differ by more than half
SAMPLES = 8  # at least: from sample to sample the ratio differs (hills, one network: 0.9 to 2.5)


@dataclass(frozen=True)
class ModeErrors:
    """Relative L2 errors, means over the same training samples.

    Attributes:
        evaluation: as in every evaluation, with running statistics.
        own: with the statistics of each batch, as in training, but without dropout.
        samples: how many.
    """

    evaluation: float
    own: float
    samples: int

    @property
    def differ(self) -> bool:
        """Whether evaluation is worse by more than half."""
        return not self.evaluation <= MUCH * self.own

    def advice(self) -> str:
        """One line."""
        return (
            f"Running statistics do NOT FIT: on {self.samples} training samples relative_l2 is {self.evaluation:.3g} "
            f"in evaluation, {self.own:.3g} with the statistics of each batch. BatchNorm wants larger batches: train "
            "with model.norm='layer' or 'cloud'"
        )


def statistics_norms(model: nn.Module) -> list[_BatchNorm]:
    """The norms of a model that evaluate with running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


@torch.no_grad()
def compare_modes(model: nn.Module, dataset: Any, clouds: int) -> ModeErrors | None:
    """The errors of a model in both modes on the same training samples, with the same augmentation.

    Buffers, modes and random states are afterwards as before. None for a model without running statistics.

    Args:
        model: gives ``pred`` in evaluation mode.
        dataset: of training; samples with ``target``. Some are taken, evenly over the set.
        clouds: of a batch in training.
    """
    norms = statistics_norms(model)
    if not norms:
        return None
    evaluation, own = [], []
    with evaluation_mode(model):
        fields = target_fields(dataset)
        for batch in some_batches(model, dataset, clouds):
            evaluation += errors_of(model, batch, fields)
            with own_statistics(norms):
                own += errors_of(model, batch, fields)
    return ModeErrors(statistics.fmean(evaluation), statistics.fmean(own), len(own))


def some_batches(model: nn.Module, dataset: Any, clouds: int) -> Iterator[dict[str, Any]]:
    """At least ``SAMPLES`` samples of a set, evenly over it, in whole batches of ``clouds``, on the model's device.

    What they draw at random is the same every time; random states are afterwards as before.
    """
    clouds = min(clouds, len(dataset))
    batches = min(-(-SAMPLES // clouds), len(dataset) // clouds)
    device = next(model.parameters()).device
    for first in range(batches):
        with fixed_seeds(first):
            samples = [dataset[(first + i * batches) * len(dataset) // (batches * clouds)] for i in range(clouds)]
        yield to_device(collate_fn(samples), device)


@torch.no_grad()
def errors_of(model: nn.Module, batch: dict[str, Any], fields: Sequence[TargetField] = ()) -> list[float]:
    """Relative L2 of each cloud; where the target has several ``fields``, in normalised units."""
    with fixed_seeds(0):  # of networks that draw in evaluation, too
        pred = model(batch)["pred"]
    return pooled_relative_l2(model, fields, pred.double(), batch["target"].double(), batch).tolist()


@contextmanager
def own_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Within, the norms use the statistics of what they are given, and leave their running ones alone."""
    modes = [norm.training for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.training, norm.track_running_stats = mode, True


@contextmanager
def fixed_seeds(seed: int) -> Iterator[None]:
    """Within, python's, numpy's and torch's random numbers come from ``seed``; afterwards they go on as before."""
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
