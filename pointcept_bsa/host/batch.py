"""Moving a batch to a device without making the host wait for it later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

ANCHORS = "anchor_offset"  # (B,) cumulative: the anchors of each cloud, its first points; the rest are queries


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on ``device``.

    Offsets, small and needed on the host too (they decide shapes), carry their values along as the attribute
    ``host_values``: reading them back from the device would stop the host at every step.
    """
    moved = {}
    for key, value in batch.items():
        if isinstance(value, Tensor):
            there = value.to(device, non_blocking=True)
            if "offset" in key and not value.is_cuda:
                there.host_values = value.tolist()  # type: ignore[attr-defined]
            value = there
        moved[key] = value
    return moved


def offset_of(lengths: Sequence[int], like: Tensor) -> Tensor:
    """Cumulative ``offset`` of clouds of ``lengths`` points, with ``host_values``, of ``like``'s type and device."""
    ends = list(accumulate(lengths))
    offset = torch.tensor(ends, dtype=like.dtype, device=like.device)
    offset.host_values = ends  # type: ignore[attr-defined]
    return offset
