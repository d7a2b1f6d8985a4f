"""The schedule that Pointcept lacks; both hosts register it."""

from __future__ import annotations

import math
from functools import partial

from torch.optim import Optimizer, lr_scheduler

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import SCHEDULERS


@SCHEDULERS.register_module()
class WarmupCosineLR(lr_scheduler.LambdaLR):
    """A linear rise over ``warmup_iters`` iterations (or ``warmup_ratio`` of the run), then a cosine to ``eta_min``.

    ``eta_min`` is a learning rate, the same for every parameter group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_iters: int | None = None,
        warmup_ratio: float | None = None,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if warmup_iters is not None and warmup_ratio is not None:
            raise InputError("give warmup_iters or warmup_ratio, not both")
        warmup = round((warmup_ratio or 0.0) * total_steps) if warmup_iters is None else warmup_iters
        if not 0 <= warmup <= total_steps:
            raise InputError(f"warm-up of {warmup} iterations: expected 0 to {total_steps}, the length of the run")

        def factor(step: int, floor: float) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            progress = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

        floors = [eta_min / group["lr"] if group["lr"] else 1.0 for group in optimizer.param_groups]
        super().__init__(optimizer, [partial(factor, floor=floor) for floor in floors], last_epoch)
