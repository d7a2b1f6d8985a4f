"""Attention between two sets of tokens (Jaegle et al. 2021, arXiv 2107.14795).

``N`` tokens, ``M`` tokens of the context, ``C`` channels, ``H`` heads, ``D`` channels a head, ``d`` dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pointcept_bsa.layers.attention import check_heads
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.prenorm import EPS
from pointcept_bsa.layers.query_key import RotaryEmbedding
from pointcept_bsa.ops.dense_attention import dense_attention


@dataclass(frozen=True)
class Tokens:
    """Rows of tokens, cloud after cloud.

    Attributes:
        lengths: tokens of each cloud.
        valid: (N,) False for those that nobody may attend to; None if there are none.
        cos_sin: their rotations by position, see :meth:`.RotaryEmbedding.cos_sin`; None for none.
    """

    lengths: tuple[int, ...]
    valid: Tensor | None = None
    cos_sin: tuple[Tensor, Tensor] | None = None


class CrossAttention(nn.Module):
    """Of the tokens x to the tokens y, what the layers below have in common.

    q = W_q x; k, v = W_kv y; softmax(q k^T / sqrt(D)) v among tokens of the same cloud; projection.

    Args:
        dim: C.
        num_heads: H.
        rotary: turns queries and keys by the ``cos_sin`` of their tokens.
    """

    def __init__(self, dim: int, num_heads: int, rotary: RotaryEmbedding | None = None):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.q = Linear(dim, dim)
        self.kv = Linear(dim, 2 * dim)
        self.rotary = rotary
        self.projection = Linear(dim, dim)

    def attend(self, x: Tensor, here: Tokens, y: Tensor, there: Tokens) -> Tensor:
        """(N, C) and (M, C), each with where they are -> (N, C)."""
        q = self.q(x).unflatten(-1, (self.num_heads, -1))
        k, v = self.kv(y).unflatten(-1, (2, self.num_heads, -1)).unbind(1)
        q, k = self.rotated(q, here), self.rotated(k, there)
        out = dense_attention(q, k, v, here.lengths, there.lengths, key_valid=there.valid)
        return self.projection(out.flatten(-2))

    def rotated(self, x: Tensor, tokens: Tokens) -> Tensor:
        """(N, H, D) turned by position, in its own type; computed in single precision or better."""
        if self.rotary is None or tokens.cos_sin is None:
            return x
        return self.rotary(x.to(torch.promote_types(x.dtype, torch.float32)), tokens.cos_sin).to(x.dtype)


class SelfAttention(CrossAttention):
    """Of tokens among themselves."""

    def forward(self, x: Tensor, here: Tokens) -> Tensor:
        return self.attend(x, here, x, here)


class PerceiverAttention(CrossAttention):
    """To a context with a norm of its own."""

    def __init__(self, dim: int, num_heads: int, rotary: RotaryEmbedding | None = None):
        super().__init__(dim, num_heads, rotary)
        self.context_norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor, here: Tokens, y: Tensor, there: Tokens) -> Tensor:
        return self.attend(x, here, self.context_norm(y), there)


class AnchorAttention(CrossAttention):
    """Of all tokens to the anchors among them."""

    def forward(self, x: Tensor, here: Tokens, index: Tensor, there: Tokens) -> Tensor:
        """(N, C); ``index`` (M,) the rows that are anchors."""
        return self.attend(x, here, x.index_select(0, index), there)
