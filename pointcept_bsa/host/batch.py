"""Moving a batch to a device without making the host wait for it later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.samples import ENDS, Batch, entry, host_ends

ANCHORS = "anchor_offset"  # (B,) cumulative: the anchors of each cloud, its first points; the rest are queries


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """The batch with its tensors on ``device``; it knows its lengths, which are read before they leave the host."""
    moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
    ends = {k: host_ends(batch, k) for k, v in batch.items() if isinstance(v, Tensor) and entry(k).rows == ENDS}
    return Batch.of(moved, ends)
