"""Attention to the tokens of several levels in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .lists import TokenLists


def tree_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, lists: TokenLists) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v over the tokens that the node of the query sees.

    Args:
        q: (Q, H, D) queries, node after node.
        k, v: (T, H, D) keys and values of the tokens.
        bias: (T,) added to the scores, -inf for tokens that nobody sees: the logarithm of the points of each.
        lists: what each node sees.

    Returns:
        (Q, H, D)
    """
    rows = bias.to(torch.promote_types(q.dtype, bias.dtype))
    if not lists.numbers:
        return _tiles(q, k, v, rows, lists)
    out = []
    for own, seen, number in zip(q.split(lists.queries), lists.tokens, lists.numbers, strict=True):
        index = seen[:number].long()
        # With a leading dimension torch writes no scores to memory. Its backward pass then makes the softmax again,
        # which costs digits where that is saturated: not in double precision, where nobody looks at the time.
        shape = () if q.dtype == torch.float64 else (1,)
        own, keys, values = (t.transpose(0, 1)[(None,) * len(shape)] for t in (own, k[index], v[index]))
        scores = rows[index].to(q.dtype).view(*shape, 1, 1, -1)
        out.append(F.scaled_dot_product_attention(own, keys, values, scores).view(-1, *own.shape[-2:]).transpose(0, 1))
    return torch.cat(out)


def _tiles(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, lists: TokenLists) -> Tensor:
    """The same of nodes with as many queries each, all at once: nothing is asked of the device."""
    tiles, most = lists.tokens.shape
    index = lists.tokens.clamp(min=0).long()
    keys, values = (t[index].transpose(1, 2) for t in (k, v))  # (G, H, K, D)
    there = torch.arange(most, device=q.device) < lists.lengths.unsqueeze(1)
    scores = bias[index].masked_fill(~there, -torch.inf).to(q.dtype)
    own = q.unflatten(0, (tiles, -1)).transpose(1, 2)
    out = F.scaled_dot_product_attention(own, keys, values, scores[:, None, None])
    return out.transpose(1, 2).flatten(0, 1)
