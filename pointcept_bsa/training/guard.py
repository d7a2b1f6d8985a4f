"""Losses and gradients that are not finite: steps left out on the device, the culprit named when the host looks.

The host never waits for a step to know whether it was good. A flag on the device, raised by a loss (or a norm of the
gradient, where one is computed) that is not finite, makes torch's fused optimizers leave the step out, as they do for
a gradient scaler. The host reads the flag where it reads the losses, every ``log_interval`` iterations.

``stop``
    After the first bad iteration no step changes the weights any more, so that those it met are still there when the
    host reads the flag, builds its batch again (batches are a function of their position) and finds the first module
    whose output is not finite. Gradients are looked at only with ``clip_grad``, which computes their norm.
``skip``
    A bad iteration's step alone is left out, and counted; gradients are always looked at (one norm a step). The run
    ends after ``MAX_IN_A_ROW`` bad iterations without a good one.

With several processes the gradient's norm alone decides, in both modes: it is the same in all of them, a loss is not.
With a gradient scaler (float16) the scaler itself leaves out steps, and only losses are looked at. An optimizer
without the fused step on CUDA (Muon, Lion, ``foreach=True``) makes the host wait for the flag in every step, as do
sharded parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.host.embedded import comm
from pointcept_bsa.training.processes.sharding import is_spread, plain

MODES = ("stop", "skip", None)
MAX_IN_A_ROW = 100


class NanGuard:
    """One run's guard.

    Args:
        mode: ``"stop"`` or ``"skip"``.
        device: where losses and gradients are.
    """

    def __init__(self, mode: str, device: torch.device) -> None:
        self.mode = mode
        self.sees_loss = comm.get_world_size() == 1
        self.needs_norm = mode == "skip" or not self.sees_loss
        self._flag = torch.zeros((), device=device)  # 0, or NaN from the first number on that is not finite
        # In float64: steps left out, the first bad iteration (of "skip"; 0: none), bad ones since the last good one.
        self._counts = torch.zeros(3, dtype=torch.float64, device=device)
        self.told = 0  # steps left out that the user has heard of

    def note(self, number: Tensor) -> None:
        """Take a loss or a norm into the flag: 0 times infinity is NaN."""
        self._flag.add_(number.detach(), alpha=0)

    def step(self, optimizer: torch.optim.Optimizer, iteration: int) -> None:
        """``optimizer.step()``, unless the iteration (counted from 1) is bad."""
        bad = self.end_iteration(iteration)
        sharded = is_spread(optimizer.param_groups[0]["params"][0])
        if bad.device.type == "cpu" or sharded or not getattr(optimizer, "_step_supports_amp_scaling", False):
            if not bad:
                optimizer.step()
            return
        fused: Any = optimizer
        fused.grad_scale, fused.found_inf = None, bad
        optimizer.step()
        del fused.grad_scale, fused.found_inf

    def end_iteration(self, iteration: int) -> Tensor:
        """Count the iteration: 1 on the device if its step is to be left out, else 0."""
        bad = torch.isnan(self._flag).float()
        if self.mode == "stop":
            self._counts[0].add_(bad)
            return bad
        skipped, first, row = self._counts.unbind()
        first = torch.where((bad > 0) & (first == 0), iteration, first)
        self._counts = torch.stack([skipped + bad, first, (row + 1) * bad])
        self._flag.zero_()
        return bad

    def read(self, iteration: int) -> tuple[int, int, int]:
        """After ``iteration``: steps left out, the first bad one (0: none), those in a row. Waits for the device."""
        skipped, first, row = map(int, self._counts.tolist())
        if self.mode == "stop":
            return skipped, iteration - skipped + 1 if skipped else 0, skipped
        return skipped, first, row

    def state_dict(self) -> list[float]:
        """The counts."""
        return self._counts.tolist()

    def load_state_dict(self, counts: list[float]) -> None:
        """Undo ``state_dict``."""
        self._counts = torch.tensor(counts, dtype=torch.float64, device=self._counts.device)
        self.told = int(counts[0])


def finite_part(value: Tensor) -> tuple[Tensor, Tensor]:
    """``value``, or 0 where it is not finite, and how many are: sums of both give the mean of the finite ones."""
    good = torch.isfinite(value)
    return torch.where(good, value, 0.0), good.to(torch.float32)


def total_norm(parameters: Iterable[Tensor], largest: float | None) -> Tensor:
    """Norm of all gradients, which are scaled down to ``largest`` unless it is None."""
    return plain(torch.nn.utils.clip_grad_norm_(parameters, math.inf if largest is None else largest))
