"""phi, the pooling of keys, values and queries (Brita et al. 2025, eq. 5 and 13).

``S`` slots, ``H`` heads, ``D`` channels a head, ``l`` slots a block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.ops.block_mlp import block_mlps
from pointcept_bsa.ops.block_pooling import block_mean

from .linear import Linear

POOLING = ("mean", "mlp")


class BlockMLP(nn.Module):
    """phi of eq. 5 and 13: the l points of a block, side by side, through an MLP shared by the heads.

    Linear(l D -> 2 l D), ReLU, Linear(2 l D -> D). Empty slots enter as zeros.

    It starts as the mean over the l slots, which 2 D of the hidden units compute as relu(mean) - relu(-mean); the
    others start at random, unheard. (With small random weights everywhere the coarse keys and values start near zero,
    so that the compression branch and the choice of blocks are idle for the first thousand steps.)
    """

    starts_itself = True

    def __init__(self, head_dim: int, block_size: int):
        super().__init__()
        self.block_size = block_size
        width = head_dim * block_size
        first, last = Linear(width, 2 * width), Linear(2 * width, head_dim)
        self.start_as_mean(first, last, block_size)
        self.mlp = nn.Sequential(first, nn.ReLU(), last)

    @staticmethod
    @torch.no_grad()
    def start_as_mean(first: nn.Linear, last: nn.Linear, block_size: int) -> None:
        """Set the weights so that the MLP is the mean over the slots of the block."""
        head_dim = last.out_features
        identity = torch.eye(head_dim)
        mean = identity.repeat(1, block_size) / block_size
        first.weight[: 2 * head_dim] = torch.cat([mean, -mean])
        last.weight.zero_()
        last.weight[:, : 2 * head_dim] = torch.cat([identity, -identity], 1)
        nn.init.zeros_(first.bias)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(S, H, D) -> (S / l, H, D); ``valid`` (S,) is False in empty slots, None where there are none."""
        return block_mlps([x], [self.weights()], self.block_size, valid)[0]

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those of both layers, and their biases."""
        first, _, last = self.mlp
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        return first.weight, first.bias, last.weight, last.bias


class BlockMean(nn.Module):
    """phi as the mean over the real points of a block, zero without any: (S, H, D) -> (S / l, H, D)."""

    def __init__(self, block_size: int):
        super().__init__()
        self.block_size = block_size

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        return block_mean(x, self.block_size, valid)


def check_pooling(**kinds: str) -> None:
    """Raise ValueError unless all of them are names of ``POOLING``."""
    for name, kind in kinds.items():
        if kind not in POOLING:
            raise ValueError(f"{name}: got {kind!r}, wanted one of {POOLING}")


def pooling(kind: str, head_dim: int, size: int) -> nn.Module:
    """phi by its name in ``POOLING``, over ``size`` slots. Raises ValueError for another name."""
    check_pooling(phi=kind)
    return BlockMLP(head_dim, size) if kind == "mlp" else BlockMean(size)


def pool_both(
    pool_k: nn.Module, pool_v: nn.Module, k: Tensor, v: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """pool_k(k) and pool_v(v), with the launches of one where both are MLPs."""
    if not (isinstance(pool_k, BlockMLP) and isinstance(pool_v, BlockMLP)):
        return pool_k(k, valid), pool_v(v, valid)
    k_cmp, v_cmp = block_mlps([k, v], [pool_k.weights(), pool_v.weights()], pool_k.block_size, valid)
    return k_cmp, v_cmp
