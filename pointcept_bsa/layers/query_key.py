"""What may happen to queries and keys before attention: normalisation, and rotation by position.

``S`` slots or points, ``H`` heads (fewer of keys than of queries, perhaps), ``D`` channels a head, ``d`` dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class RotaryEmbedding(nn.Module):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864, eq. 34) over d coordinates.

    Of the D channels, D // (2 d) pairs belong to each axis; pair n of axis a is turned by the angle
    2 pi 2^n x_a / wavelength. So <q, k> depends on where the two points are relative to each other, and a translation
    of the cloud changes nothing. Channels that make no whole pair for every axis are left alone.

    Args:
        head_dim: D, at least 2 d.
        dimensionality: d.
        wavelength: of the slowest pair, in the units of the coordinates: twice the size of the domain, say, so that
            its ends are told apart.

    Raises:
        ValueError: heads too narrow, or a wavelength that is not positive.
    """

    frequencies: Tensor

    def __init__(self, head_dim: int, dimensionality: int, wavelength: float):
        super().__init__()
        pairs = head_dim // (2 * dimensionality)
        if not pairs:
            raise ValueError(
                f"rotary: got heads of {head_dim} channels, wanted at least {2 * dimensionality} for a pair an axis"
            )
        if not 0 < wavelength < math.inf:
            raise ValueError(f"rotary: got the wavelength {wavelength!r}, wanted a positive number")
        self.register_buffer("frequencies", 2 * math.pi / wavelength * 2.0 ** torch.arange(pairs), persistent=False)

    def cos_sin(self, coord: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the angles at (S, d): (S, 1, d * pairs) each."""
        frequencies = self.frequencies.to(torch.promote_types(coord.dtype, torch.float32))
        angle = (coord[:, None, :, None] * frequencies).flatten(2)
        return angle.cos(), angle.sin()

    def forward(self, x: Tensor, cos_sin: tuple[Tensor, Tensor]) -> Tensor:
        """(S, H, D), turned at what ``cos_sin`` gave for the coordinates."""
        cos, sin = cos_sin
        half = cos.shape[-1]
        a, b, rest = x.split((half, half, x.shape[-1] - 2 * half), -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], -1)


class QueryKey(nn.Module):
    """Queries and keys as attention gets them, in their own dtype; computed in single precision or better.

    ``norm``: RMSNorm over the channels of a head with weights of their own for q and k, so that scores cannot grow
    with the activations (Henry et al. 2020, arXiv 2010.04245; Dehghani et al. 2023, arXiv 2302.05442).
    ``wavelength``: then a rotary position embedding, see :class:`RotaryEmbedding`.
    """

    def __init__(self, head_dim: int, dimensionality: int, norm: bool = False, wavelength: float | None = None):
        super().__init__()
        self.norm_q = nn.RMSNorm(head_dim, eps=1e-6) if norm else None
        self.norm_k = nn.RMSNorm(head_dim, eps=1e-6) if norm else None
        self.rotary = None if wavelength is None else RotaryEmbedding(head_dim, dimensionality, wavelength)

    @classmethod
    def wanted(cls, head_dim: int, dimensionality: int, norm: bool, wavelength: float | None) -> QueryKey | None:
        """The module, or None where queries and keys stay as they are."""
        return cls(head_dim, dimensionality, norm, wavelength) if norm or wavelength is not None else None

    def forward(self, q: Tensor, k: Tensor, coord: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(S, H, D), (S, Hkv, D) at ``coord`` (S, d) -> the same shapes.

        Without a rotary embedding there may be other rows of keys than of queries, and ``coord`` is not needed.
        """
        dtype = q.dtype
        with torch.autocast(q.device.type, enabled=False):
            q, k = (x.to(torch.promote_types(dtype, torch.float32)) for x in (q, k))
            if self.norm_q is not None and self.norm_k is not None:
                q, k = self.norm_q(q), self.norm_k(k)
            if self.rotary is not None and coord is not None:
                cos_sin = self.rotary.cos_sin(coord)
                q, k = self.rotary(q, cos_sin), self.rotary(k, cos_sin)
        return q.to(dtype), k.to(dtype)
