"""Attention to selected blocks in plain torch (BSA eq. 8; Yuan et al. 2025, arXiv 2502.11089, for grouped heads)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# So many elements of gathered keys and values, logits and weights are held at once: 256 MiB in float32. Beyond that
# the query groups are taken a chunk at a time, and each chunk is computed again in the backward pass.
MAX_ELEMENTS = 2**26


def selected_attention(
    q: Tensor, k: Tensor, v: Tensor, index: Tensor, block_size: int, *, valid: Tensor | None = None
) -> Tensor:
    """softmax(q k_sel^T / sqrt(D)) v_sel, where k_sel are all points of the blocks selected by the query's group.

    Args:
        q: (S, H, D) queries, in G groups of S / G consecutive slots.
        k, v: (S', Hkv, D) keys and values, in blocks of l consecutive slots. Hkv divides H: query heads
            h Hkv / H (rounded down) share a key/value head and its selection.
        index: (G, Hkv, K) selected blocks; -1 for none.
        block_size: l.
        valid: (S',) False in empty slots of the keys. With S' = S, also empties the same slots of the output.

    Returns:
        (S, H, D), zero where nothing is selected.

    Raises:
        ValueError: heads that do not fit each other.
    """
    groups, kv_heads, topk = index.shape
    heads, dim = q.shape[1:]
    if heads % kv_heads or k.shape[1] != kv_heads:
        raise ValueError(
            f"index: got a selection for {kv_heads} heads, wanted the {k.shape[1]} key heads, a divisor of {heads}"
        )
    # The query heads of a key/value head lie beside the queries of the group: r = g H / Hkv rows.
    rows = q.view(groups, -1, kv_heads, heads // kv_heads, dim).transpose(1, 2)
    shape = rows.shape  # (G, Hkv, g, H / Hkv, D)
    rows = rows.reshape(groups, kv_heads, -1, dim)
    block_valid = None if valid is None else valid.view(-1, block_size)
    keys, values = _block_table(k, block_size), _block_table(v, block_size)
    step = max(1, MAX_ELEMENTS // (kv_heads * topk * block_size * 2 * (dim + rows.shape[2])))
    if step >= groups:
        out = _attend(rows, keys, values, index, block_valid, block_size)
    else:
        chunks = zip(rows.split(step), index.split(step), strict=True)
        out = torch.cat(
            [checkpoint(_attend, r, keys, values, i, block_valid, block_size, use_reentrant=False) for r, i in chunks]
        )
    out = out.view(shape).transpose(1, 2).reshape(q.shape[0], heads, dim)
    return out if valid is None or valid.shape[0] != out.shape[0] else out * valid.view(-1, 1, 1)


def _attend(
    rows: Tensor, keys: Tensor, values: Tensor, index: Tensor, block_valid: Tensor | None, block_size: int
) -> Tensor:
    """(G, Hkv, r, D) queries, tables of blocks, (G, Hkv, K) -> (G, Hkv, r, D)."""
    k, v = (_gather_blocks(table, index, block_size) for table in (keys, values))  # (G, Hkv, K l, D)
    seen = (index >= 0).unsqueeze(-1).expand(-1, -1, -1, block_size)
    if block_valid is not None:
        seen = seen & block_valid[index.clamp(min=0)]
    seen = seen.flatten(-2).unsqueeze(2)  # (G, Hkv, 1, K l)
    any_seen = seen.any(-1, keepdim=True)
    # A row without any key would be softmax of -inf everywhere: let it see all, then empty it.
    logits = (rows @ k.transpose(-1, -2) / math.sqrt(rows.shape[-1])).masked_fill(~(seen | ~any_seen), -torch.inf)
    return (logits.softmax(-1).to(v.dtype) @ v) * any_seen


def _block_table(x: Tensor, block_size: int) -> Tensor:
    """(S', Hkv, D) -> (Hkv S' / l, l D): a row for each head and block."""
    return x.unflatten(0, (-1, block_size)).permute(2, 0, 1, 3).flatten(0, 1).flatten(1)


def _gather_blocks(table: Tensor, index: Tensor, block_size: int) -> Tensor:
    """Rows of the table for (G, Hkv, K) blocks -> (G, Hkv, K l, D). The gradient is an index_add."""
    groups, heads, topk = index.shape
    rows = index.clamp(min=0) + torch.arange(heads, device=index.device).view(-1, 1) * (table.shape[0] // heads)
    return table.index_select(0, rows.flatten()).view(groups, heads, topk * block_size, -1)
