"""RMSNorm through the project's operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.ops.rms_norm import rms_norm


class RMSNorm(nn.RMSNorm):
    """torch's RMSNorm over the last axis, (..., C) -> (..., C); its parameters and default eps."""

    def __init__(self, dim: int):
        super().__init__(dim)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps_of(x))

    def eps_of(self, x: Tensor) -> float:
        """What is added to the mean of squares."""
        return torch.finfo(x.dtype).eps if self.eps is None else self.eps
