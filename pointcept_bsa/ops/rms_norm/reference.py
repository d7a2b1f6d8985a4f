"""RMSNorm by torch (Zhang and Sennrich 2019, arXiv 1910.07467), and what stands beside it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.ops.permute import permute


class PositionMap(NamedTuple):
    """An affine map of coordinates.

    Attributes:
        coord: (..., d) coordinates, d up to 3; they have no gradient.
        matrix: (C, d).
        shift: (C,).
    """

    coord: Tensor
    matrix: Tensor
    shift: Tensor


class MixedOrder(NamedTuple):
    """An order in which other rows take the places of some.

    Attributes:
        places: (S,) row r is row places[r] of the sum, none of them twice; or, where that is negative, row
            -1 - places[r] of the others.
        others: (n, C), every one of which has a place.
    """

    places: Tensor
    others: Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis.

    Args:
        x: (..., C).
        weight: (C,).
        eps: added to the mean of squares.
    """
    return F.rms_norm(x, weight.shape, weight, eps)


def residual_norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    summand: Tensor | None = None,
    bias: Tensor | None = None,
    order: tuple[Tensor, Tensor] | MixedOrder | None = None,
    position: PositionMap | None = None,
) -> tuple[Tensor, Tensor]:
    """t = (x + summand)[order[0]] and rms_norm(t) + matrix coord + shift.

    Args:
        x: (S, C), or (..., C) without an order.
        weight: (C,) of the norm.
        eps: added to the mean of squares.
        summand: of the shape of x; t is of the type of x.
        bias: (C,), whose value is in the summand already but whose gradient is not yet taken: it gets the column sums
            of the summand's gradient.
        order: (S,) a permutation of the rows, row r of t being row order[0][r] of the sum, and its inverse; or a
            mixed one. The bias then gets the column sums over all rows of t.
        position: an affine map of coordinates that are in t's order.

    Returns:
        t and its norm, both of the shape of x.
    """
    mixed = order if isinstance(order, MixedOrder) else None
    if bias is not None and summand is not None:
        # Adds zeros, whose gradient reaches the bias.
        zero = (bias - bias.detach()).to(summand.dtype)
        summand = summand + zero
        mixed = None if mixed is None else mixed._replace(others=mixed.others + zero)
    total = x if summand is None else x + summand
    if mixed is not None:
        places = mixed.places.where(mixed.places >= 0, len(x) - 1 - mixed.places)
        total = torch.cat([total, mixed.others])[places]
    elif order is not None:
        total = permute(total, *order)
    out = rms_norm(total, weight, eps)
    return total, out if position is None else out + F.linear(*position)
