"""The pre-norm block of networks whose attention is not BSA's, with whatever attention, MLP and norm they have.

``N`` points or tokens, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.recompute import check_recompute, recomputed
from pointcept_bsa.layers.transformer import by_rows

EPS = 1e-6  # of the norms
LAYER_NORM = partial(nn.LayerNorm, eps=EPS)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers between these widths, GELU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class PrenormBlock(nn.Module):
    """x += attention(norm(x), ...); x += MLP(norm(x)).

    Args:
        attention: called with the norm of x and whatever else the block is called with.
        dim: C.
        mlp_ratio: hidden width of the MLP over C.
        checkpoint: see :class:`.TransformerBlock`.
        norm: makes a norm of C channels.
        feed_forward: in place of the MLP, which is linear, GELU, linear; each row for itself.
    """

    shard_unit = True  # what a host that shards parameters over processes shards as one

    def __init__(
        self,
        attention: nn.Module,
        dim: int,
        mlp_ratio: int = 4,
        checkpoint: bool | str = False,
        *,
        norm: Callable[[int], nn.Module] = LAYER_NORM,
        feed_forward: nn.Module | None = None,
    ):
        super().__init__()
        self.checkpoint = check_recompute(checkpoint)
        self.norm1 = norm(dim)
        self.attention = attention
        self.norm2 = norm(dim)
        self.mlp = mlp(dim, dim * mlp_ratio, dim) if feed_forward is None else feed_forward

    def forward(self, x: Tensor, *others: Any) -> Tensor:
        if self.checkpoint and torch.is_grad_enabled():
            return recomputed(self.run, self.checkpoint, x, *others)
        return self.run(x, *others)

    def run(self, x: Tensor, *others: Any) -> Tensor:
        """The block itself."""
        x = x + self.attention(self.norm1(x), *others)
        if torch.is_grad_enabled():
            return x + self.mlp(self.norm2(x))
        return by_rows(lambda rows: (rows + self.mlp(self.norm2(rows)),), x)[0]
