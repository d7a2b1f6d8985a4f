"""A line to fit, and hooks that remember: the smallest things that a trainer can train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, HOOKS, MODELS, TESTERS, HookBase, TesterBase

REPOSITORY = Path(__file__).resolve().parents[2]


def read_metrics(run_dir: Path, kind: str = "train") -> list[dict]:
    """The records of one kind in a run's ``metrics.jsonl``."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record.get("kind") == kind]


@MODELS.register_module()
class ToyLine(nn.Module):
    def __init__(self, width: int = 1, dropout: float = 0.0, fail: str | None = None) -> None:
        super().__init__()
        if fail is not None:
            raise ValueError(fail)
        self.linear = nn.Linear(3, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: dict) -> dict:
        pred = self.linear(self.dropout(batch["coord"]))
        loss = (pred - batch["target"]).square().mean()
        return {"loss": loss} if self.training else {"loss": loss, "pred": pred}


@DATASETS.register_module()
class ToyCloud:
    def __init__(
        self, split="train", num_samples=6, transform=None, loop=1, noise=0.0, fault=None, points=None
    ) -> None:
        self.split, self.num_samples, self.loop, self.noise = split, num_samples, loop, noise
        self.fault, self.points = fault, points

    def __len__(self) -> int:
        return self.num_samples * self.loop

    def __getitem__(self, index: int) -> dict:
        index %= self.num_samples
        coord = np.random.default_rng(index).standard_normal((self.points or 4 + index, 3)).astype(np.float32)
        target = coord.sum(axis=1, keepdims=True) + self.noise * np.random.standard_normal()
        if self.fault == "target":
            target = target * np.nan
        elif self.fault == "file":
            raise InputError(f"sample_{index}.npy: 3 values are NaN")
        return {
            "coord": torch.from_numpy(coord),
            "target": torch.from_numpy(target.astype(np.float32)),
            "offset": torch.tensor([len(coord)]),
            "name": f"{self.split}_{index}",
        }


@HOOKS.register_module()
class Diary(HookBase):
    """Notes every moment, and which samples came, in a list that outlives the trainer."""

    notes: list[str] = []
    names: list[str] = []

    def __init__(self, tag: str = "") -> None:
        self.tag = tag

    def before_train(self) -> None:
        self.notes.append(f"{self.tag}before_train")

    def before_epoch(self) -> None:
        self.notes.append(f"{self.tag}before_epoch")

    def before_step(self) -> None:
        self.notes.append(f"{self.tag}before_step")
        self.names.append(",".join(self.trainer.comm_info["input_dict"]["name"]))

    def after_step(self) -> None:
        self.notes.append(f"{self.tag}after_step")

    def after_epoch(self) -> None:
        self.notes.append(f"{self.tag}after_epoch")

    def after_train(self) -> None:
        self.notes.append(f"{self.tag}after_train")


@HOOKS.register_module()
class ToyEvaluator(HookBase):
    """Publishes the values of ``metrics``, one an epoch."""

    def __init__(self, metrics=(0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2)) -> None:
        self.metrics = [float(value) for value in metrics]

    def after_epoch(self) -> None:
        self.trainer.comm_info["current_metric_value"] = self.metrics[self.trainer.epoch]
        self.trainer.comm_info["current_metric_name"] = "toy"


@HOOKS.register_module()
class StopAt(HookBase):
    """Breaks the run off, as a kill would, in the given epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_step(self) -> None:
        if self.trainer.epoch == self.epoch:
            raise RuntimeError("killed")


@TESTERS.register_module()
class ToyTester(TesterBase):
    results: list[float] = []

    @torch.no_grad()
    def test(self) -> None:
        self.model.eval()
        losses = [float(self.model(batch)["loss"]) for batch in self.test_loader]
        self.results.append(sum(losses) / len(losses))
        self.logger.info(f"Test loss {self.results[-1]:.4g}")
