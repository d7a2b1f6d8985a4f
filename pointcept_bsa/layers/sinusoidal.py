"""Positions as sines and cosines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MAX_PERIOD = 10_000.0  # ratio of the slowest to the fastest wave, were there infinitely many


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of each coordinate (Vaswani et al. 2017, sec. 3.5, of real numbers): (N, d) -> (N, C).

    Axis a has [sin(w_i scale x_a), cos(w_i scale x_a)] for w_i = 10000^(-2i / C'), of C' = C / d channels, rounded down
    to an even number; channels that are left over are zero.

    Args:
        dim: C, at least 2 d.
        dimensionality: d.
        scale: the fastest wave has the length 2 pi / scale, in the unit of the coordinates.

    Raises:
        ValueError: too few channels.
    """

    frequencies: Tensor

    def __init__(self, dim: int, dimensionality: int, scale: float):
        super().__init__()
        waves = dim // dimensionality // 2
        if not waves:
            raise ValueError(f"channels: got {dim}, wanted at least {2 * dimensionality} for a wave an axis")
        frequencies = scale * MAX_PERIOD ** (-torch.arange(waves) / waves)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.rest = dim - 2 * waves * dimensionality

    def forward(self, coord: Tensor) -> Tensor:
        phase = coord.unsqueeze(-1) * self.frequencies.to(torch.promote_types(coord.dtype, torch.float32))
        waves = torch.cat([phase.sin(), phase.cos()], -1).flatten(-2)
        return nn.functional.pad(waves, (0, self.rest)).to(coord.dtype)
