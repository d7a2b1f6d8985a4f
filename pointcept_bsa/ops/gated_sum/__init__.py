"""Sum of branches weighed by gates."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["gated_sum"]


def gated_sum(branches: Sequence[Tensor], gate: Tensor) -> Tensor:
    """sum_b sigmoid(gate_b) branch_b (BSA eq. 9): see :func:`.reference.gated_sum`."""
    why_not = None
    if triton_installed():
        why_not = triton_backend.unsupported(branches, gate)
    if use_triton("gated_sum", *branches, gate, unsupported=why_not):
        return triton_backend.gated_sum_triton(branches, gate)
    return reference.gated_sum(branches, gate)
