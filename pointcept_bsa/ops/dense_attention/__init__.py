"""Dense attention of every query to every key of its own cloud."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import choice

from . import backend, reference

__all__ = ["dense_attention"]


def dense_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_lengths: tuple[int, ...],
    k_lengths: tuple[int, ...],
    *,
    key_valid: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, where queries see the keys of their own cloud only: see
    :func:`.reference.dense_attention`. What runs is what :func:`.backend.attend` finds fastest."""
    plain = choice() == "reference" and not backend.is_asked_for()
    attend = reference.attend if plain else backend.attend
    return reference.dense_attention(q, k, v, q_lengths, k_lengths, key_valid=key_valid, attend=attend)
