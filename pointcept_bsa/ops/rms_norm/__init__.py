"""Root mean square normalisation, alone and with what stands beside it in a transformer block."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference
from .reference import MixedOrder, PositionMap

if triton_installed():
    from . import triton_backend

__all__ = ["MixedOrder", "PositionMap", "residual_norm", "rms_norm"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: see :func:`.reference.rms_norm`.

    The kernel exists for the gradient of the weight, which torch's own kernel sums slowly for many short rows.
    """
    why_not = triton_backend.unsupported(x) if triton_installed() else None
    if use_triton("rms_norm", x, weight, unsupported=why_not):
        return triton_backend.rms_norm_triton(x, weight, eps)
    return reference.rms_norm(x, weight, eps)


def residual_norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    summand: Tensor | None = None,
    bias: Tensor | None = None,
    order: tuple[Tensor, Tensor] | MixedOrder | None = None,
    position: PositionMap | None = None,
) -> tuple[Tensor, Tensor]:
    """What a layer of a residual network begins with, by one kernel forward and one backward.

    t = (x + summand)[order[0]], with a :class:`MixedOrder` some rows of others among them, and
    rms_norm(t) + matrix place + shift: see :func:`.reference.residual_norm`.
    """
    coord = None if position is None else position.coord
    why_not = triton_backend.unsupported(x, coord, order is not None) if triton_installed() else None
    if use_triton("residual_norm", x, summand, weight, coord, unsupported=why_not):
        places, others = order if isinstance(order, MixedOrder) else (order and order[0], None)
        return triton_backend.residual_norm_triton(x, weight, eps, summand, bias, places, position, others)
    return reference.residual_norm(x, weight, eps=eps, summand=summand, bias=bias, order=order, position=position)
