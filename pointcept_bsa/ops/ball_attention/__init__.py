"""Attention inside balls."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["ball_attention"]


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
    """softmax(q k^T / sqrt(D) + sigma_h |x_i - x_j|) v inside each ball: see :func:`.reference.ball_attention`.

    ``PCBSA_OPS`` chooses between plain torch and the kernels: see :mod:`pointcept_bsa.dispatch`.
    """
    if sigma is not None and coord is None:
        raise ValueError("coord: got None, wanted (S, d) positions for the distance bias")
    why_not = triton_backend.unsupported(q, ball_size, coord) if triton_installed() else None
    if use_triton("ball_attention", q, k, v, unsupported=why_not):
        return triton_backend.ball_attention_triton(q, k, v, ball_size, coord=coord, sigma=sigma, valid=valid)
    return reference.ball_attention(q, k, v, ball_size, coord=coord, sigma=sigma, valid=valid)
