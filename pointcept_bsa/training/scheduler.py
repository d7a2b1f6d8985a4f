"""Learning rate schedules by name, stepped once an iteration; ``total_steps`` is filled in by the trainer.

Names and arguments as Pointcept's (fractions of the run where it takes fractions), and ``WarmupCosineLR``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer, lr_scheduler

from pointcept_bsa.host.embedded.registry import SCHEDULERS
from pointcept_bsa.training.warmup_cosine import WarmupCosineLR  # noqa: F401 - registers it

SCHEDULERS.register_module(module=lr_scheduler.OneCycleLR)


def build_scheduler(cfg: Mapping[str, Any], optimizer: Optimizer, total_steps: int) -> lr_scheduler.LRScheduler:
    """Build ``cfg`` for a run of ``total_steps`` iterations."""
    return SCHEDULERS.build({**cfg, "optimizer": optimizer, "total_steps": total_steps}, path="scheduler")


@SCHEDULERS.register_module()
class MultiStepLR(lr_scheduler.MultiStepLR):
    """Times ``gamma`` at each of ``milestones``, given as fractions of the run."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[float],
        total_steps: int,
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        super().__init__(optimizer, [int(m * total_steps) for m in milestones], gamma, last_epoch)


@SCHEDULERS.register_module()
class MultiStepWithWarmupLR(lr_scheduler.LambdaLR):
    """As ``MultiStepLR``, after a linear rise from ``warmup_scale`` over the first ``warmup_rate`` of the run."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[float],
        total_steps: int,
        gamma: float = 0.1,
        warmup_rate: float = 0.05,
        warmup_scale: float = 1e-6,
        last_epoch: int = -1,
    ) -> None:
        warmup = warmup_rate * total_steps

        def factor(step: int) -> float:
            decay = gamma ** sum(step >= m * total_steps for m in milestones)
            return decay * (warmup_scale + (1 - warmup_scale) * step / warmup if step < warmup else 1.0)

        super().__init__(optimizer, factor, last_epoch)


@SCHEDULERS.register_module()
class PolyLR(lr_scheduler.LambdaLR):
    """``(1 - step / (total_steps + 1)) ** power``."""

    def __init__(self, optimizer: Optimizer, total_steps: int, power: float = 0.9, last_epoch: int = -1) -> None:
        super().__init__(optimizer, lambda step: max(1 - step / (total_steps + 1), 0.0) ** power, last_epoch)


@SCHEDULERS.register_module()
class ExpLR(lr_scheduler.LambdaLR):
    """``gamma ** (step / total_steps)``."""

    def __init__(self, optimizer: Optimizer, total_steps: int, gamma: float = 0.9, last_epoch: int = -1) -> None:
        super().__init__(optimizer, lambda step: gamma ** (step / total_steps), last_epoch)


@SCHEDULERS.register_module()
class CosineAnnealingLR(lr_scheduler.CosineAnnealingLR):
    """Half a cosine from the learning rate down to ``eta_min`` over the run."""

    def __init__(self, optimizer: Optimizer, total_steps: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        super().__init__(optimizer, T_max=total_steps, eta_min=eta_min, last_epoch=last_epoch)
