"""SwiGLU in plain torch (Shazeer 2020, arXiv 2002.05202)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def swiglu(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """W_3 (W_2 x + b_2) * silu(W_1 x + b_1) + b_3.

    Args:
        x: (N, C).
        weights: W_1 (M, C), b_1 (M,), W_2 (M, C), b_2 (M,), W_3 (C', M), b_3 (C',).

    Returns:
        (N, C')
    """
    w1, b1, w2, b2, w3, b3 = weights
    return F.linear(F.silu(F.linear(x, w1, b1)) * F.linear(x, w2, b2), w3, b3)
