"""``Point``: a batch of clouds as a dict with attribute access.

Legend: ``N`` points of all clouds, ``B`` clouds.
"""

from __future__ import annotations

import torch
from addict import Dict
from torch import Tensor


def offset_to_batch(offset: Tensor, num_points: int | None = None) -> Tensor:
    """Cumulative counts ``(B,)`` to the cloud of each point ``(N,)``; ``num_points`` saves a device synchronisation."""
    counts = torch.diff(offset, prepend=offset.new_zeros(1)).long()
    clouds = torch.arange(len(offset), device=offset.device)
    return torch.repeat_interleave(clouds, counts, output_size=num_points)


def batch_to_offset(batch: Tensor) -> Tensor:
    """The cloud of each point ``(N,)``, sorted, to cumulative counts ``(B,)``."""
    return torch.cumsum(torch.bincount(batch), dim=0)


class Point(Dict):
    """Points of ``B`` clouds laid end to end: ``coord (N, d)``, ``feat (N, C)``, ``offset (B,)``, ``batch (N,)``.

    ``offset`` is cumulative. Of ``offset`` and ``batch`` the missing one is filled from the other. As in Pointcept,
    reading an absent attribute gives an empty ``Point``: ask with ``"name" in point``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if "batch" not in self and "offset" in self:
            rows = next((self[key].shape[0] for key in ("coord", "feat") if isinstance(self.get(key), Tensor)), None)
            self["batch"] = offset_to_batch(self["offset"], rows)
        elif "offset" not in self and "batch" in self:
            self["offset"] = batch_to_offset(self["batch"])
