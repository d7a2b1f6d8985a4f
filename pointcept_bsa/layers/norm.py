"""RMSNorm through the project's operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.layers.linear import Linear, in_full
from pointcept_bsa.ops.rms_norm import Place, residual_norm, rms_norm


class RMSNorm(nn.RMSNorm):
    """torch's RMSNorm over the last axis, (..., C) -> (..., C); its parameters and default eps."""

    def __init__(self, dim: int):
        super().__init__(dim)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps_of(x))

    def eps_of(self, x: Tensor) -> float:
        """What is added to the mean of squares."""
        return torch.finfo(x.dtype).eps if self.eps is None else self.eps


def placed(x: Tensor, norm: RMSNorm | None, place: Tensor, position: Linear) -> Tensor:
    """norm(x) + position(place), at once: what attention layers begin with. Without a norm x has been through it.

    Args:
        x: (S, C).
        norm: of C channels.
        place: (S, d) coordinates.
        position: from d to C channels.
    """
    map_of_place = None if norm is None else in_place(place, position)
    if norm is None or map_of_place is None:
        return (x if norm is None else norm(x)) + position(place)
    return residual_norm(x, norm.weight, norm.eps_of(x), place=map_of_place)[1]


def in_place(place: Tensor, position: Linear) -> Place | None:
    """``position(place)`` as the kernel takes it, or None if it cannot."""
    if place.requires_grad or place.shape[-1] > 3 or position.bias is None:
        return None
    return Place(place, in_full(position.weight), in_full(position.bias))
