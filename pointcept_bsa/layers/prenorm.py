"""The pre-norm block of the networks that came after BSA's field, with whatever attention and norm they have.

``N`` points, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.transformer import by_rows


def mlp(*widths: int, activation: Callable[[], nn.Module] = nn.GELU) -> nn.Sequential:
    """Linear layers from each width to the next, an activation between them: (..., first) -> (..., last)."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


class PrenormBlock(nn.Module):
    """x += attention(norm1(x), ...); x += mlp(norm2(x)).

    Args:
        attention: from (N, C), and whatever else the block is called with, to (N, C).
        feed_forward: from (N, C) to (N, C), each row for itself.
        norm: makes a norm over the channels of a row.
        checkpoint: less memory in training, see :class:`.TransformerBlock`.
    """

    shard_unit = True  # what a host that shards parameters over processes shards as one

    def __init__(
        self,
        attention: nn.Module,
        feed_forward: nn.Module,
        norm: Callable[[], nn.Module],
        checkpoint: bool = False,
    ):
        super().__init__()
        self.checkpoint = checkpoint
        self.norm1 = norm()
        self.attention = attention
        self.norm2 = norm()
        self.mlp = feed_forward

    def forward(self, x: Tensor, *clouds: Any) -> Tensor:
        if self.checkpoint and torch.is_grad_enabled():
            return recompute(self.run, x, *clouds, use_reentrant=False, preserve_rng_state=False)
        return self.run(x, *clouds)

    def run(self, x: Tensor, *clouds: Any) -> Tensor:
        """The block itself."""
        x = x + self.attention(self.norm1(x), *clouds)
        if torch.is_grad_enabled():
            return x + self.mlp(self.norm2(x))
        return by_rows(lambda rows: (rows + self.mlp(self.norm2(rows)),), x)[0]
