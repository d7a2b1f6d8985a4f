"""Mean pooling of blocks (BSA eq. 5, 11 and 13 with mean pooling)."""

from __future__ import annotations

from torch import Tensor


def block_mean(x: Tensor, block_size: int, valid: Tensor | None = None) -> Tensor:
    """Mean over the real points of each block of ``l`` consecutive slots.

    Args:
        x: (S, ...), S a multiple of l.
        block_size: l.
        valid: (S,) False in empty slots.

    Returns:
        (S / l, ...), zero for a block without points.
    """
    blocks = x.unflatten(0, (-1, block_size))
    if valid is None:
        return blocks.mean(1)
    weight = valid.view(-1, block_size, *[1] * (x.dim() - 1)).to(x.dtype)
    return (blocks * weight).sum(1) / weight.sum(1).clamp(min=1)
