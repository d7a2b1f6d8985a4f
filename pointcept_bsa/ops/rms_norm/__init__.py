"""Root mean square normalisation."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["rms_norm"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: see :func:`.reference.rms_norm`.

    The kernel exists for the gradient of the weight, which torch's own kernel sums slowly for many short rows.
    """
    why_not = triton_backend.unsupported(x) if triton_installed() else None
    if use_triton("rms_norm", x, weight, unsupported=why_not):
        return triton_backend.rms_norm_triton(x, weight, eps)
    return reference.rms_norm(x, weight, eps)
