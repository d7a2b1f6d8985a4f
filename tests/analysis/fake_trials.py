"""An engine whose trials take no time and end as their config says; found by name in spawned processes."""

from __future__ import annotations

import csv
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.analysis.tune.run import Wanted, tune
from pointcept_bsa.analysis.tune.worker import Engine
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, MODELS, Config

CONFIG = """
save_path = {save_path!r}
seed = None
evaluate = True
max_iters = 100
eval_every = 25
eval_epoch = 4
num_worker = 0
clip_grad = None
model = dict(type="FakeModel", act="train", backbone=dict(in_channels=3))
optimizer = dict(type="AdamW", lr=1e-3)
data = dict(
    train=dict(type="FakeSet", split="train", bands=1),
    val=dict(type="FakeSet", split="val", num_samples=2, bands=1),
    test=dict(type="FakeSet", split="test", bands=1),
)
search = {search}
"""
LR = "{'optimizer.lr': dict(type='log', low=1e-4, high=1e-1)}"


@DATASETS.register_module()
class FakeSet:
    def __init__(self, split: str, num_samples: int = 4, bands: int = 1) -> None:
        assert split != "test", "the test set was built"
        self.num_samples, self.bands = num_samples, bands

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"feat": torch.zeros(5, 1 + 2 * self.bands)}


@MODELS.register_module()
class FakeModel:
    def __init__(self, act: str = "train", width: int = 8, backbone: Any = None) -> None: ...


class Stopped(Exception):
    pass


def load(path: str, options: Any) -> Config:
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(options))
    return cfg


def check(cfg: Config) -> None:
    if cfg.clip_grad == -1:
        raise InputError("clip_grad=-1: expected a positive number")


def identity(cfg: Config) -> str:
    return f"{cfg.model} {cfg.optimizer}"


def shorten(cfg: Config, budget: int, evaluations: int) -> None:
    cfg.data.pop("test")
    cfg.budget, cfg.evaluations = budget, evaluations


def train(cfg: Config, listener: Any) -> float:
    """The error is smallest at a learning rate of 0.01; ``model.act`` says what happens."""
    act = cfg.model.act
    Path(cfg.save_path, "act.txt").write_text(f"{act} {cfg.seed} {cfg.num_worker} {cfg.model.backbone.in_channels}")
    if act == "unbuildable":
        raise InputError("model: cannot be built")
    listener.began()
    for evaluation in range(1, cfg.evaluations + 1):
        if act == "crash":
            raise RuntimeError("a kernel went wrong")
        if act == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if act == "diverge":
            raise InputError("relative_l2 of the validation is nan: the training has diverged")
        if act == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "wait":
            time.sleep(30)
        error = 0.1 + (math.log10(cfg.optimizer.lr) + 2) ** 2 + 1 / evaluation
        if listener.evaluated(evaluation * cfg.budget // cfg.evaluations, error, "-relative_l2"):
            raise Stopped
    return 1.0


def release() -> None:
    pass


def sweep(cfg: Config, low: float, high: float, budget: int) -> list[tuple[float, float]]:
    """A loss that falls fastest at a learning rate of 1e-3, is lowest at 1e-2 and then rises."""
    rates = [low * (high / low) ** (i / budget) for i in range(budget)]
    return [(r, 2 - math.tanh(2 * (math.log10(r) + 3)) + max(0.0, math.log10(r) + 2) ** 2) for r in rates]


ENGINE = Engine(load, check, identity, shorten, train, Stopped, release, sweep)


def wanted(folder: Path, search: str = LR, **changes: Any) -> Wanted:
    """A short search of the fake config, which is written into ``folder``."""
    path = folder / "config.py"
    path.write_text(CONFIG.format(save_path=str(folder / "run"), search=search))
    return Wanted(**{"config": str(path), "trials": 3, "budget": 8, "output": str(folder / "study"), **changes})


def search(wanted: Wanted) -> tuple[Any, list[str]]:
    """The file of the best trial, and what was said."""
    lines: list[str] = []
    best = tune(wanted, ENGINE, lines.append)
    return best, lines


def table(wanted: Wanted) -> list[dict[str, str]]:
    """The rows of ``trials.csv``."""
    with open(Path(wanted.output, "trials.csv"), encoding="utf-8") as file:
        return list(csv.DictReader(file))
