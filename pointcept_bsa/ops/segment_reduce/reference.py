"""Segment reduction in plain torch. Legend: ``N`` rows, ``C`` channels, ``S`` segments."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_reduce_reference(src: Tensor, indptr: Tensor, reduce: str) -> Tensor:
    """Reduce rows ``indptr[i] .. indptr[i + 1]`` of ``src (N, C)`` to row ``i`` of the result ``(S, C)``."""
    lengths = torch.diff(indptr)
    out = torch.segment_reduce(src.contiguous(), reduce, lengths=lengths, axis=0, unsafe=True)
    # torch starts an empty run from the reduction's neutral element (or 0/0): zero it, as torch_scatter does
    return out.masked_fill((lengths == 0)[:, None], 0.0)
