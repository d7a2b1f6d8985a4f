"""Dense attention per cloud: full attention, and with coarse keys the compression branch (BSA eq. 5 and 15)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v by torch: (B, H, Q, D), (B, H, K, D), mask (B, 1, 1, K) -> (B, H, Q, D)."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def dense_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_lengths: tuple[int, ...],
    k_lengths: tuple[int, ...],
    *,
    key_valid: Tensor | None = None,
    attend: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor] = attend,
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, where queries see the keys of their own cloud only.

    Args:
        q: (Q, H, D) queries of all clouds.
        k, v: (K, H, D) keys and values of all clouds; or (K, Hkv, D) where Hkv divides H: each serves H / Hkv
            consecutive query heads.
        q_lengths, k_lengths: queries and keys of each cloud.
        key_valid: (K,) False for keys that nobody may attend to; at least one key of each cloud is True.
        attend: what computes the attention of clouds of the same length.

    Returns:
        (Q, H, D)
    """
    if k.shape[1] != q.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    if len(set(q_lengths)) == 1 and len(set(k_lengths)) == 1:
        clouds = len(q_lengths)
        mask = None if key_valid is None else key_valid.view(clouds, 1, 1, -1)
        q, k, v = (t.view(clouds, -1, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
        return attend(q, k, v, mask).transpose(1, 2).flatten(0, 1)
    masks = [None] * len(k_lengths) if key_valid is None else key_valid.split(k_lengths)
    clouds_of = zip(q.split(q_lengths), k.split(k_lengths), v.split(k_lengths), masks, strict=True)
    out = []
    for cloud_q, cloud_k, cloud_v, mask in clouds_of:
        cloud_q, cloud_k, cloud_v = (t.transpose(0, 1).unsqueeze(0) for t in (cloud_q, cloud_k, cloud_v))
        out.append(attend(cloud_q, cloud_k, cloud_v, _row(mask)).squeeze(0).transpose(0, 1))
    return torch.cat(out)


def _row(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.view(1, 1, 1, -1)
