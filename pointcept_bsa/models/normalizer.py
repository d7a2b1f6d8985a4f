"""The one home of the target's statistics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS


@MODELS.register_module("TargetNormalizer")
class TargetNormalizer(nn.Module):
    """(target - mean) / std per channel. Mean and std are buffers, so a checkpoint carries its units.

    Args:
        channels: K.
        mean, std: K numbers each. None: to be set later (by the hook ``FitTargetNormalizer`` or a checkpoint).

    Raises:
        InputError: other than K numbers, a std that is not positive, or use before the statistics are set.
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(self, channels: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("fitted", torch.tensor(False))
        self._ready = False  # ``fitted`` on the host, so that a step does not wait for the device
        if mean is not None or std is not None:
            if mean is None or std is None:
                raise InputError(f"TargetNormalizer: got mean={mean}, std={std}, wanted both or none")
            self.set(mean, std)

    def set(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the statistics: K numbers each, std positive and finite."""
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != len(self.mean):
                raise InputError(f"TargetNormalizer.{name}: got {len(values)} numbers, wanted {len(self.mean)}")
        if not all(0 < s < float("inf") for s in std):
            raise InputError(f"TargetNormalizer.std: got {list(std)}, wanted positive numbers")
        self.mean.copy_(torch.as_tensor(mean))
        self.std.copy_(torch.as_tensor(std))
        self.fitted.fill_(True)
        self._ready = True

    def normalize(self, target: Tensor) -> Tensor:
        """Physical (N, K) -> normalised (N, K)."""
        self._check()
        return (target - self.mean) / self.std

    def denormalize(self, pred: Tensor) -> Tensor:
        """Normalised (N, K) -> physical (N, K)."""
        self._check()
        return pred * self.std + self.mean

    def _check(self) -> None:
        if not self._ready:
            self._ready = bool(self.fitted)
        if not self._ready:
            raise InputError(
                "TargetNormalizer: has no statistics, wanted mean and std in the config, "
                "the hook FitTargetNormalizer, or a trained checkpoint"
            )
