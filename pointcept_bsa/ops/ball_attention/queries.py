"""Attention of queries to the keys of balls in which they are not keys themselves.

``G`` tiles of ``r`` queries, ``S`` slots of keys in balls of ``m``, ``H`` heads, ``D`` channels a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

if triton_installed():
    from . import triton_backend

LEAST_ROWS = 16  # of a tile, for the kernel


def query_ball_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ball: Tensor,
    ball_size: int,
    *,
    at: Tensor | None = None,
    coord: Tensor | None = None,
    sigma: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T / sqrt(D) + sigma_h |x - x_j|) v over the keys of the ball of each query's tile.

    By the kernel where no gradient is wanted.

    Args:
        q: (G r, H, D).
        k, v: (S, H, D), or (S, Hkv, D) where Hkv divides H: each serves H / Hkv consecutive query heads.
        ball: (G,) whose keys the queries of a tile see; it has at least one.
        ball_size: m.
        at, coord: (G r, d) and (S, d), where queries and keys are; needed with ``sigma``.
        sigma: (H,) weight of the distance, or None for no bias.
        valid: (S,) False for keys that nobody sees.

    Returns:
        (G r, H, D)
    """
    rows = q.shape[0] // ball.shape[0]
    trains = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (q, k, v, sigma))
    if not trains:
        why_not = triton_backend.unsupported(q, ball_size, coord) if triton_installed() else None
        if rows < LEAST_ROWS or rows & (rows - 1):
            why_not = why_not or f"q: got tiles of {rows} queries, wanted a power of two from {LEAST_ROWS} on"
        if use_triton("query_ball_attention", q, k, v, unsupported=why_not):
            return triton_backend.query_ball_attention_op(q, k, v, ball, ball_size, at, coord, sigma, valid)
    return reference(q, k, v, ball=ball, ball_size=ball_size, at=at, coord=coord, sigma=sigma, valid=valid)


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ball: Tensor,
    ball_size: int,
    at: Tensor | None,
    coord: Tensor | None,
    sigma: Tensor | None,
    valid: Tensor | None,
) -> Tensor:
    """The same in plain torch."""

    def of_tiles(x: Tensor) -> Tensor:
        """(S, ...) -> (G, m, ...)."""
        return x.unflatten(0, (-1, ball_size)).index_select(0, ball)

    tiles, heads = len(ball), q.shape[1]
    keys, values = (of_tiles(x).transpose(1, 2) for x in (k, v))  # (G, Hkv, m, D)
    if keys.shape[1] != heads:
        keys, values = (x.repeat_interleave(heads // x.shape[1], 1) for x in (keys, values))
    bias = None
    if sigma is not None:
        if at is None or coord is None:
            raise ValueError("at, coord: got None, wanted positions for the distance bias")
        distance = _distances(at.unflatten(0, (tiles, -1)), of_tiles(coord))
        bias = (sigma.view(-1, 1, 1) * distance.unsqueeze(1)).to(q.dtype)  # (G, H, r, m)
    if valid is not None:
        seen = of_tiles(valid)[:, None, None]
        bias = seen if bias is None else bias.masked_fill(~seen, -torch.inf)
    rows = q.unflatten(0, (tiles, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(rows, keys, values, attn_mask=bias).transpose(1, 2).flatten(0, 1)


def _distances(at: Tensor, coord: Tensor) -> Tensor:
    """(G, r, m) distances from (G, r, d) to (G, m, d), without the cancellation of |a|^2 - 2ab + |b|^2."""
    axes = zip(at.unbind(-1), coord.unbind(-1), strict=True)
    squared = [(a.unsqueeze(2) - b.unsqueeze(1)).square() for a, b in axes]
    return sum(squared[1:], squared[0]).sqrt()
