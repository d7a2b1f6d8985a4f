"""Losses of the same training with kernels and in plain torch, side by side.

Two trainings that differ in one rounding drift apart, so their curves alone prove neither that the kernels are right
nor that they are wrong. Hence three figures: how far apart the first steps are, how far apart those of plain torch are
when its own starting weights are rounded (``ROUNDED``, the yardstick), and where trainings from several seeds end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from pointcept_bsa.analysis.benchmark.case import (
    INPUT_SETS,
    OptimizerBuilder,
    Plan,
    autocast,
    build_case,
    make_step,
    precision,
)
from pointcept_bsa.analysis.benchmark.inputs import Batch
from pointcept_bsa.analysis.benchmark.variants import AUTO, REFERENCE, operators
from pointcept_bsa.files.atomic import write_csv

ROUNDED = "reference_rounded"  # plain torch again, from weights that are a rounding error away
COLUMNS = (AUTO, REFERENCE, ROUNDED)
ROUNDING = {"bf16": -9, "tf32": -12, "fp32": -23}  # power of 2; a typical error, of float32 the least there is
EARLY_STEPS, LATE_PASSES = 20, 12  # compared at the start and at the end
TELL_SECONDS = 30.0

# (config, optimizer, steps) -> schedule, as the host's trainer builds it.
SchedulerBuilder = Callable[[Mapping[str, Any], torch.optim.Optimizer, int], LRScheduler]
Tell = Callable[[str], None]


@dataclass
class LossCurves:
    """Trainings of one config at one size.

    ``losses`` has, by path of the operators, a curve a seed, which is a loss a step; ``final`` a loss a seed: the mean
    over the batches, evaluated afterwards. Of ``ROUNDED`` there is seed 0 alone.
    """

    name: str
    points: int
    losses: dict[str, list[list[float]]]
    final: dict[str, list[float]]
    rounding: int = ROUNDING["fp32"]

    def differences(self, path: str) -> Tensor:
        """``|a - b| / |b|`` (seeds, steps) of the losses of ``path`` to those of plain torch from the same seed."""
        ours = torch.tensor(self.losses[path], dtype=torch.float64)
        truth = torch.tensor(self.losses[REFERENCE], dtype=torch.float64)[: len(ours)]
        return torch.where(ours == truth, 0.0, (ours - truth).abs() / truth.abs())

    def early(self, path: str) -> float:
        """The largest difference within the first steps, over all seeds."""
        return self.differences(path)[:, :EARLY_STEPS].max().item()

    def summary(self) -> str:
        """How far apart the paths are, in one line."""
        seeds, steps = len(self.losses[AUTO]), len(self.losses[AUTO][0])
        late = {path: [fmean(passes(curve)[-LATE_PASSES:]) for curve in self.losses[path]] for path in self.losses}
        number = len(passes(self.losses[AUTO][0])[-LATE_PASSES:])
        return (
            f"{self.name} N={self.points:,}, {steps} steps, {seeds} seed{'s' * (seeds > 1)}: "
            f"largest relative difference of the losses in the first {min(EARLY_STEPS, steps)} steps "
            f"{self.early(AUTO):.1e} ({AUTO} to {REFERENCE}), "
            f"{self.early(ROUNDED):.1e} ({REFERENCE} to itself, start rounded by 2^{self.rounding}); "
            f"evaluated after training {_both(self.final)}; "
            f"mean loss of the last {number} pass{'es' * (number > 1)} {_both(late)}"
        )


def passes(curve: Sequence[float]) -> list[float]:
    """The mean loss of each whole pass over the batches, which take turns; of all steps where there is no whole one."""
    whole = len(curve) // INPUT_SETS
    return [fmean(curve[i * INPUT_SETS : (i + 1) * INPUT_SETS]) for i in range(whole)] or [fmean(curve)]


def spread(values: Sequence[float]) -> str:
    """Mean and, of several, sample standard deviation; nan if one is."""
    found = torch.tensor(values, dtype=torch.float64)
    return f"{found.mean():.4g}" + (f" +- {found.std():.2g}" if len(values) > 1 else "")


def _both(values: Mapping[str, Sequence[float]]) -> str:
    return f"{spread(values[AUTO])} ({AUTO}), {spread(values[REFERENCE])} ({REFERENCE})"


@dataclass(frozen=True)
class Training:
    """Trainings of a config at one size: eager, on the same batches, with its schedule stretched over ``steps``.

    Where the config has no schedule, the learning rate stays.
    """

    cfg: Mapping[str, Any]
    points: int
    steps: int
    plan: Plan
    build_optimizer: OptimizerBuilder
    build_scheduler: SchedulerBuilder

    def run(self, path: str, seed: int, tell: Tell) -> tuple[list[float], float]:
        """Train on a path of the operators from the weights of ``seed``; the loss of each step, and that afterwards."""
        ops = AUTO if path == AUTO else REFERENCE
        plan = replace(self.plan, mode="eager", ops=ops, erwin_checkout=None)
        with precision(plan), operators(ops):
            torch.manual_seed(seed)
            model, batches = build_case(self.cfg, self.points, plan)
            if path == ROUNDED:
                round_weights(model, 2.0 ** ROUNDING[plan.dtype])
            optimizer = self.build_optimizer(self.cfg["optimizer"], model, self.cfg.get("param_dicts"))
            given = self.cfg.get("scheduler")
            schedule = self.build_scheduler(given, optimizer, self.steps) if given else None
            step = make_step(model.train(), optimizer, plan)
            torch.manual_seed(seed + 1)
            losses = self._steps(step, schedule, batches, tell)
            with torch.no_grad(), autocast(plan):
                return losses, fmean(float(model.eval()(dict(batch))["loss"]) for batch in batches)

    def _steps(
        self,
        step: Callable[[Batch], Tensor],
        schedule: LRScheduler | None,
        batches: Sequence[Batch],
        tell: Tell,
    ) -> list[float]:
        seen = []
        start = told = time.perf_counter()
        for i in range(1, self.steps + 1):
            seen.append(step(batches[(i - 1) % len(batches)]))
            if schedule is not None:
                schedule.step()
            now = time.perf_counter()
            if now - told > TELL_SECONDS and i < self.steps:
                told, rate = now, i / (now - start)
                tell(f"step {i}/{self.steps}, {rate:.3g} a second, about {(self.steps - i) / rate:.0f} s left of it")
        return torch.stack(seen).float().tolist()


def train_both(name: str, training: Training, seeds: int = 1, tell: Tell = lambda line: None) -> LossCurves:
    """Train from the weights of each seed, once with each path of the operators.

    Plain torch trains seed 0 once more from rounded weights. ``tell`` gets a line a training, and more of a long one.
    """
    curves = LossCurves(name, training.points, {path: [] for path in COLUMNS}, {path: [] for path in COLUMNS})
    curves.rounding = ROUNDING[training.plan.dtype]
    todo = [(path, seed) for seed in range(seeds) for path in (COLUMNS if seed == 0 else (AUTO, REFERENCE))]
    start = time.perf_counter()
    for i, (path, seed) in enumerate(todo):
        head = f"{name} N={training.points:,} training {i + 1}/{len(todo)} ({path}, seed {seed}): "
        began = time.perf_counter()
        losses, final = training.run(path, seed, partial(_tell_more, tell, head))
        now = time.perf_counter()
        curves.losses[path].append(losses)
        curves.final[path].append(final)
        left = (now - start) / (i + 1) * (len(todo) - i - 1)
        tell(
            f"{head}{training.steps} steps in {now - began:.1f} s ({training.steps / (now - began):.3g} a second), "
            f"evaluated {final:.4g}" + (f"; about {left:.0f} s left of these {len(todo)}" if left else "")
        )
    return curves


def _tell_more(tell: Tell, head: str, line: str) -> None:
    tell(head + line)


@torch.no_grad()
def round_weights(model: nn.Module, relative: float) -> None:
    """Make every weight larger or smaller by ``relative`` of itself, at random but always the same."""
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        signs = torch.randint(0, 2, weight.shape, generator=generator) * 2 - 1
        weight.mul_(1 + relative * signs.to(weight))


def write_losses(file_path: Path, curves: Sequence[LossCurves]) -> None:
    """A CSV: config, points, seed, step, and a column a path; that of ``ROUNDED`` is empty but for seed 0."""
    rows: list[list[Any]] = []
    for each in curves:
        for seed, ours in enumerate(each.losses[AUTO]):
            found = [each.losses[path] for path in COLUMNS]
            for i in range(len(ours)):
                values = [own[seed][i] if seed < len(own) else "" for own in found]
                rows.append([each.name, each.points, seed, i + 1, *values])
    write_csv(file_path, ["config", "points", "seed", "step", *COLUMNS], rows)
