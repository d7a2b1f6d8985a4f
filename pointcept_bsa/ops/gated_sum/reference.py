"""Gates in plain torch (BSA eq. 9; Yuan et al. 2025, arXiv 2502.11089, eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def gated_sum(branches: Sequence[Tensor], gate: Tensor) -> Tensor:
    """sum_b sigmoid(gate_b) branch_b.

    Args:
        branches: B tensors (S, H, D).
        gate: (S, B H), the logit of branch b and head h at b H + h.

    Returns:
        (S, H, D)
    """
    weights = gate.sigmoid().unflatten(-1, (len(branches), -1, 1)).unbind(-3)
    out = weights[0] * branches[0]
    for weight, branch in zip(weights[1:], branches[1:], strict=True):
        out = out + weight * branch
    return out
