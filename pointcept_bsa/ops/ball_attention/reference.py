"""Ball attention in plain torch (Zhdanov et al. 2025, arXiv 2502.17019, eq. 8 and 10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ball_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ball_size: int,
    *,
    coord: Tensor | None = None,
    sigma: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T / sqrt(D) + sigma_h |x_i - x_j|) v inside each ball of ``m`` consecutive slots.

    Args:
        q: (S, H, D), S a multiple of m.
        k, v: (S, H, D), or (S, Hkv, D) where Hkv divides H: each serves H / Hkv consecutive query heads.
        ball_size: m.
        coord: (S, d) positions, in the units that sigma refers to; needed with ``sigma``.
        sigma: (H,) weight of the distance, or None for no bias.
        valid: (S,) False in empty slots.

    Returns:
        (S, H, D), zero in empty slots.
    """
    slots, heads, _ = q.shape
    balls = slots // ball_size
    bias = None
    if sigma is not None:
        if coord is None:
            raise ValueError("coord: got None, wanted (S, d) positions for the distance bias")
        bias = (sigma.view(1, heads, 1, 1) * distances(coord, ball_size).unsqueeze(1)).to(q.dtype)
    if valid is not None:
        inside = valid.view(balls, 1, 1, ball_size)
        inside = inside | ~inside.any(-1, keepdim=True)  # a ball without points sees all of itself: no softmax of -inf
        bias = inside if bias is None else bias.masked_fill(~inside, -torch.inf)
    if k.shape[1] != heads:
        k, v = (t.repeat_interleave(heads // t.shape[1], 1) for t in (k, v))
    q, k, v = (t.view(balls, ball_size, heads, -1).transpose(1, 2) for t in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    out = out.transpose(1, 2).reshape(slots, heads, -1)
    return out if valid is None else out * valid.view(-1, 1, 1)


def distances(coord: Tensor, ball_size: int) -> Tensor:
    """(S / m, m, m) distances between the slots of each ball, without the cancellation of |a|^2 - 2ab + |b|^2."""
    squared: Tensor | float = 0.0
    for axis in coord.view(-1, ball_size, coord.shape[-1]).unbind(-1):
        squared = squared + (axis.unsqueeze(2) - axis.unsqueeze(1)).square()
    return torch.as_tensor(squared).sqrt()
