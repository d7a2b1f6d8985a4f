"""phi as an MLP in plain torch (BSA eq. 5 and 13)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def block_mlp(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    block_size: int,
    valid: Tensor | None = None,
) -> Tensor:
    """W_2 relu(W_1 u + b_1) + b_2, where u holds the l slots of a block side by side; heads share the weights.

    Args:
        x: (S, H, D).
        weight1, bias1: (M, l D) and (M,).
        weight2, bias2: (D', M) and (D',).
        block_size: l.
        valid: (S,) False in empty slots, which enter as zeros.

    Returns:
        (S / l, H, D')
    """
    if valid is not None:
        x = x * valid.view(-1, 1, 1)
    u = x.unflatten(0, (-1, block_size)).transpose(1, 2).flatten(-2)
    return F.linear(F.relu(F.linear(u, weight1, bias1)), weight2, bias2)
