"""A line to fit, and hooks that remember: the smallest things that a trainer can train."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, HOOKS, MODELS, TESTERS, HookBase, comm
from pointcept_bsa.metrics import mse
from pointcept_bsa.training.evaluation.tester_base import TesterBase

REPOSITORY = Path(__file__).resolve().parents[2]


def read_metrics(run_dir: Path, kind: str = "train") -> list[dict]:
    """The records of one kind in a run's ``metrics.jsonl``."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record.get("kind") == kind]


class Breaker(nn.Module):
    """Passes its input on, but for one forward pass in training, given by the number of optimizer steps before it."""

    def __init__(self, bad_at: int | None, kind: bool | str) -> None:
        super().__init__()
        self.bad_at, self.kind, self.names = bad_at, kind, None

    def forward(self, x: torch.Tensor, batch: dict) -> torch.Tensor:
        if self.bad_at is None or not self.training or not self.kind:
            return x
        self.count = getattr(self, "count", -1) + torch.is_grad_enabled()
        if self.count == self.bad_at and torch.is_grad_enabled():
            self.names = batch["name"]  # what is bad stays bad when it comes back for the diagnosis
        if self.names is None or (torch.is_grad_enabled() and self.count != self.bad_at) or self.names != batch["name"]:
            return x
        return x + (0 * x).sqrt() if self.kind == "gradient" else x / 0


@MODELS.register_module()
class ToyLine(nn.Module):
    def __init__(
        self, width: int = 1, dropout: float = 0.0, fail: str | None = None, bad_at=None, bad_step=False, spike_at=None
    ) -> None:
        super().__init__()
        if fail is not None:
            raise ValueError(fail)
        self.linear = nn.Linear(3, width)
        self.dropout = nn.Dropout(dropout)
        self.middle = Breaker(bad_at, bad_step)
        self.spike_at, self.calls = spike_at, -1

    def forward(self, batch: dict) -> dict:
        pred = self.middle(self.linear(self.dropout(batch["coord"])), batch)
        loss = (pred - batch["target"]).square().mean()
        self.calls += self.training
        if self.calls == self.spike_at:
            loss = 1000 * loss
        return {"loss": loss} if self.training else {"loss": loss, "pred": pred}


@MODELS.register_module()
class CloudLine(ToyLine):
    """Two layers, and the mean over clouds of each cloud's mean as the loss, as those of the package have it."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("seen", torch.tensor(False))

    def forward(self, batch: dict) -> dict:
        pred = self.linear(self.dropout(batch["coord"]))
        loss = mse(pred, batch["target"], batch["offset"]).mean()
        return {"loss": loss} if self.training else {"loss": loss, "pred": pred}


class ToyBlock(nn.Linear):
    shard_unit = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x).tanh()


@MODELS.register_module()
class BlockLine(CloudLine):
    """Two blocks, each a unit to be sharded."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Linear(3, 8), ToyBlock(8, 8), ToyBlock(8, 8), nn.Linear(8, 1))


@HOOKS.register_module()
class KillAt(HookBase):
    """Kills the process of one rank before an iteration, unless torchrun has started it anew already."""

    only_watches = True

    def __init__(self, iteration: int, rank: int = 1) -> None:
        self.iteration, self.rank = iteration, rank

    def before_step(self) -> None:
        first_start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if first_start and (self.trainer.global_iter, comm.get_rank()) == (self.iteration, self.rank):
            os.kill(os.getpid(), signal.SIGKILL)


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
        if self.fault == "target" or (self.fault == "one" and index == 0):
            target = target * np.nan
        elif self.fault == "file":
            raise InputError(f"sample_{index}.npy: 3 values are NaN")
        elif self.fault == "lost":
            raise FileNotFoundError(2, "No such file or directory", f"sample_{index}.npy")
        return {
            "coord": torch.from_numpy(coord),
            "target": torch.from_numpy(target.astype(np.float32)),
            "offset": torch.tensor([len(coord)]),
            "name": f"{self.split}_{index}",
        }


@DATASETS.register_module()
class ListedCloud(ToyCloud):
    """Which samples it has is told by a file."""

    def __init__(self, listing: str, split="train", transform=None, loop=1) -> None:
        super().__init__(split, transform=transform, loop=loop)
        self.listing = Path(listing)

    def card(self) -> dict:
        return {"split_hash": self.listing.read_text()}


@HOOKS.register_module()
class Diary(HookBase):
    """Notes every moment, and which samples came, in a list that outlives the trainer."""

    only_watches = True

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
    """Publishes the values of ``metrics``, one an epoch; ``draw``: minus the loss, with a random number drawn."""

    def __init__(self, metrics=(0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2), draw=False) -> None:
        self.metrics, self.draw = [float(value) for value in metrics], draw

    @torch.no_grad()
    def evaluate(self) -> float:
        model = self.trainer.model.eval()
        losses = [float(model(batch)["loss"]) for batch in self.trainer.val_loader]
        value = -sum(losses) + 1e-3 * float(torch.rand(()))
        self.trainer.writer.add_scalar("val/toy", value, self.trainer.epoch + 1)
        return value

    def after_epoch(self) -> None:
        value = self.evaluate() if self.draw else self.metrics[self.trainer.epoch]
        self.trainer.comm_info["current_metric_value"] = value
        self.trainer.comm_info["current_metric_name"] = "toy"


@HOOKS.register_module()
class StopAt(HookBase):
    """Breaks the run off, as a kill would, in the given epoch, or after so many iterations."""

    only_watches = True

    def __init__(self, epoch: int | None = None, iteration: int | None = None) -> None:
        self.epoch, self.iteration = epoch, iteration

    def before_step(self) -> None:
        if self.trainer.epoch == self.epoch or self.trainer.global_iter == self.iteration:
            raise RuntimeError("killed")


@HOOKS.register_module()
class SignalAt(HookBase):
    """Sends this process a signal in an iteration, or while an epoch is evaluated."""

    only_watches = True

    def __init__(self, iteration: int | None = None, epoch: int | None = None, number: int = signal.SIGTERM) -> None:
        self.iteration, self.epoch, self.number = iteration, epoch, number

    def before_step(self) -> None:
        if self.trainer.global_iter == self.iteration and not self.trainer.cfg.resume:
            os.kill(os.getpid(), self.number)

    def after_epoch(self) -> None:
        if self.trainer.epoch == self.epoch:
            os.kill(os.getpid(), self.number)


@HOOKS.register_module()
class Mover(HookBase):
    """Takes a folder away in the third iteration."""

    only_watches = True

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def before_step(self) -> None:
        if self.trainer.global_iter == 2:
            self.folder.rename(self.folder.with_suffix(".moved"))


@TESTERS.register_module()
class ToyTester(TesterBase):
    results: list[float] = []

    @torch.no_grad()
    def test(self) -> None:
        self.model.eval()
        losses = [float(self.model(batch)["loss"]) for batch in self.test_loader]
        self.results.append(sum(losses) / len(losses))
        self.logger.info(f"Test loss {self.results[-1]:.4g}")
