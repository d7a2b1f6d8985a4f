"""RMSNorm by torch (Zhang and Sennrich 2019, arXiv 1910.07467)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis.

    Args:
        x: (..., C).
        weight: (C,).
        eps: added to the mean of squares.
    """
    return F.rms_norm(x, weight.shape, weight, eps)
