"""One trial of a search (``tools/tune.py``): a training without checkpoints, without pictures, without a test."""

from __future__ import annotations

import contextlib
import gc
import math
import shutil
import time
import weakref
from pathlib import Path
from typing import Protocol

import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config, run_custom_imports
from pointcept_bsa.host.embedded.hook import HookBase
from pointcept_bsa.host.embedded.logger import close_log_file
from pointcept_bsa.host.embedded.registry import TRAINERS
from pointcept_bsa.training.env import default_setup

# Hooks that write much, or test. What they are made of (data.test) is not there either.
LEFT_OUT = ("CheckpointSaver", "PreciseEvaluator", "BoardWriter")
WITHHELD = "withheld from a search"  # as data.test.type: no such data set
KEPT = ("config.py", "metrics.jsonl", "train.log", "output.txt")  # the last is that of a worker


class Listener(Protocol):
    """Whom a trial tells how it goes."""

    def began(self) -> None:
        """Before the first iteration."""

    def evaluated(self, iteration: int, error: float, metric: str) -> bool:
        """After an evaluation: ``error``, the smaller the better, is the metric with the sign that its name begins
        with turned. Returns whether to stop here."""


class TrialStopped(Exception):
    """The listener wanted it."""


class _Reporter(HookBase):
    """Stands last: what the evaluator has published goes out."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def before_step(self) -> None:
        if self.trainer.global_iter == 0:
            self.listener.began()

    def after_epoch(self) -> None:
        trainer = self.trainer
        value = trainer.comm_info.pop("current_metric_value", None)
        if value is None:
            raise InputError("hooks: no evaluator published a metric, or data.val has no samples; wanted validation")
        name = trainer.comm_info.get("current_metric_name", "metric")
        if not math.isfinite(value):
            raise InputError(f"{name.removeprefix('-')} of the validation is {value}: the training has diverged")
        if self.listener.evaluated(trainer.global_iter, -float(value), name):
            raise TrialStopped


def shorten(cfg: Config, budget: int, evaluations: int) -> None:
    """Make ``cfg`` a trial of ``budget`` iterations, evaluated ``evaluations`` times, that cannot see the test set."""
    cfg.max_iters, cfg.eval_every = budget, math.ceil(budget / evaluations)
    cfg.hooks = [hook for hook in cfg.hooks if hook.get("type") not in LEFT_OUT]
    cfg.data.test = {"type": WITHHELD}
    cfg.resume, cfg.evaluate, cfg.test_only, cfg.save_every = False, True, False, None


def train_trial(cfg: Config, listener: Listener) -> float:
    """Train what :func:`shorten` has made; returns the seconds it took.

    Of the files of a run ``KEPT`` stay. Nothing stays on the device: graphs, weights and cached memory are let go.

    Raises:
        TrialStopped: the listener wanted it.
        InputError: as a training; no metric, or one that is not finite.
    """
    start = time.perf_counter()
    try:
        _train(cfg, _Reporter(listener))
    finally:
        release_device()
    return time.perf_counter() - start


def _train(cfg: Config, last: HookBase) -> None:
    """Train with a hook behind those of the config, and tidy up; the trainer ends with this call."""
    run_custom_imports(cfg)
    try:
        trainer = TRAINERS.build(dict(cfg=default_setup(cfg), **cfg.train), path="train")
        last.trainer = weakref.proxy(trainer)
        trainer.hooks.append(last)
        trainer.train()
    finally:
        close_log_file()
        _tidy(Path(cfg.save_path))


class _Sweep(HookBase):
    """Keeps learning rate and loss of every iteration; stops where the loss is far above that of the beginning."""

    LOOK_EVERY, ENOUGH = 10, 4.0  # iterations between two looks (the host waits then); times the first loss

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[torch.Tensor] = []

    def before_step(self) -> None:
        self.rates.append(self.trainer.optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        self.losses.append(self.trainer.comm_info["model_output_dict"]["loss"].detach().float().clone())
        if len(self.losses) % self.LOOK_EVERY == 0:
            seen = torch.stack(self.losses).unfold(0, self.LOOK_EVERY, self.LOOK_EVERY).mean(dim=1)
            if not torch.isfinite(seen[-1]) or seen[-1] > seen.min() + self.ENOUGH * seen[0].abs():
                raise TrialStopped


def sweep_learning_rate(cfg: Config, low: float, high: float, budget: int) -> list[tuple[float, float]]:
    """Train ``budget`` iterations while the learning rate rises from ``low`` to ``high``, evenly in its logarithm.

    Returns:
        (learning rate, loss) of every iteration with a finite loss; it ends early where the loss has gone up.
    """
    shorten(cfg, budget, 1)
    # Losses are looked at here: hooks that evaluate, write or warn are left out.
    cfg.hooks = [hook for hook in cfg.hooks if hook["type"] in ("FitTargetNormalizer", "CheckpointLoader", "ModelHook")]
    cfg.evaluate, cfg.nan_guard, cfg.ema, cfg.gradient_accumulation_steps = False, None, None, 1
    cfg.optimizer["lr"] = low
    cfg.scheduler = {"type": "ExpLR", "gamma": high / low}
    sweep = _Sweep()
    with contextlib.suppress(TrialStopped):
        _train(cfg, sweep)
    losses = [float(loss) for loss in sweep.losses]
    return [(rate, loss) for rate, loss in zip(sweep.rates, losses, strict=False) if math.isfinite(loss)]


def release_device() -> None:
    """Free what nothing refers to any more, also on the GPU."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _tidy(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in KEPT:
            path.unlink(missing_ok=True)
