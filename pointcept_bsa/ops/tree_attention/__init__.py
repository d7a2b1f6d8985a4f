"""Attention to the tokens of several levels: near ones fine, far ones coarse."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference
from .lists import TokenLists

if triton_installed():
    from . import triton_backend

__all__ = ["TokenLists", "tree_attention"]


def tree_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, lists: TokenLists) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v over the tokens that the node of the query sees.

    See :func:`.reference.tree_attention`. ``PCBSA_OPS`` chooses between plain torch and the kernels.
    """
    why_not = triton_backend.unsupported(q) if triton_installed() else None
    if use_triton("tree_attention", q, k, v, unsupported=why_not):
        return triton_backend.tree_attention_triton(q, k, v, bias, lists)
    return reference.tree_attention(q, k, v, bias, lists)
