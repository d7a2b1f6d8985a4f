"""Attention of query groups to their selected blocks."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["selected_attention"]


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
        (S, H, D), zero where nothing is selected. With the kernels, gradients are the same in every run.

    Raises:
        ValueError: heads that do not fit each other.
        InputError: ``PCBSA_OPS`` names no backend, or one that cannot take these arguments.
    """
    _, kv_heads, _ = index.shape
    if q.shape[1] % kv_heads or k.shape[1] != kv_heads:
        raise ValueError(
            f"index: got a selection for {kv_heads} heads, wanted the {k.shape[1]} key heads, a divisor of {q.shape[1]}"
        )
    why_not = None
    if triton_installed():
        why_not = triton_backend.unsupported(q, k, v, index, block_size)
    if use_triton("selected_attention", q, k, v, unsupported=why_not):
        lists = triton_backend.precomputed_lists(q, index, k.shape[0] // block_size)
        return triton_backend.selected_attention_op(q, k, v, index, block_size, valid, lists)[0]
    return reference.selected_attention(q, k, v, index, block_size, valid=valid)
