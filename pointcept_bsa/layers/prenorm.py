"""The pre-norm block of networks whose attention is not BSA's, with whatever attention, MLP and norm they have.

``N`` points or tokens, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.ops.side_streams import one_stream

# What treats each row for itself, in parts.

ROWS_AT_ONCE = 1 << 16  # where no gradient is wanted


def by_rows(function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
    """``function(*inputs)``, which treats each row for itself, in parts.

    The same numbers (a matrix product of another height may round otherwise), less memory.
    """
    rows = inputs[0].shape[0]
    if rows <= ROWS_AT_ONCE:
        return function(*inputs)
    out: tuple[Tensor, ...] = ()
    for first in range(0, rows, ROWS_AT_ONCE):
        results = function(*(t[first : first + ROWS_AT_ONCE] for t in inputs))
        out = out or tuple(result.new_empty(rows, *result.shape[1:]) for result in results)
        for whole, part in zip(out, results, strict=True):
            whole[first : first + ROWS_AT_ONCE] = part
    return out


# Recomputation: what the backward pass needs is computed once more there instead of kept.

SELECTIVE = "selective"
# What costs most to compute and little to keep: attention, C numbers a slot, and the choice of blocks.
KEPT = (
    "ball_attention",
    "narrow_attention",
    "tree_attention",
    "selected_attention",
    "select_blocks",
    "best_children",
    "selection_lists",
)
KEPT_OF_TORCH = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
)

Out = TypeVar("Out")


def check_recompute(how: bool | str) -> bool | str:
    """The value of an argument ``recompute``.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(how, bool) and how != SELECTIVE:
        raise ValueError(f"recompute: got {how!r}, wanted True, False or {SELECTIVE!r}")
    return how


def recomputed(run: Callable[..., Out], how: bool | str, *inputs: Any) -> Out:
    """``run(*inputs)``, which draws nothing at random, computed again in the backward pass.

    Args:
        how: True: all of it, only the inputs are kept. ``"selective"``: all but the attentions and the choice of
            blocks, whose outputs are kept, too.
    """

    def alone(*given: Any) -> Out:
        with one_stream():
            return run(*given)

    context = {} if how is True else {"context_fn": partial(create_selective_checkpoint_contexts, _kept())}
    out: Out = checkpoint(alone, *inputs, use_reentrant=False, preserve_rng_state=False, **context)  # type: ignore[arg-type]
    return out


def _kept() -> list[Any]:
    rooms = ((torch.ops.pcbsa, KEPT), (torch.ops.aten, KEPT_OF_TORCH))
    return [getattr(room, name).default for room, names in rooms for name in names if hasattr(room, name)]


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
        recompute: see :class:`.TransformerBlock`.
        norm: makes a norm of C channels.
        feed_forward: in place of the MLP, which is linear, GELU, linear; each row for itself.

    Raises:
        ValueError: arguments out of range.
    """

    shard_unit = True  # what a host that shards parameters over processes shards as one

    def __init__(
        self,
        attention: nn.Module,
        dim: int,
        mlp_ratio: int = 4,
        recompute: bool | str = False,
        *,
        norm: Callable[[int], nn.Module] = LAYER_NORM,
        feed_forward: nn.Module | None = None,
    ):
        super().__init__()
        check_counts(mlp_ratio=mlp_ratio)
        self.recompute = check_recompute(recompute)
        self.norm1 = norm(dim)
        self.attention = attention
        self.norm2 = norm(dim)
        self.mlp = mlp(dim, dim * mlp_ratio, dim) if feed_forward is None else feed_forward

    def forward(self, x: Tensor, *others: Any) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return recomputed(self.run, self.recompute, x, *others)
        return self.run(x, *others)

    def run(self, x: Tensor, *others: Any) -> Tensor:
        """The block itself."""
        x = x + self.attention(self.norm1(x), *others)
        if torch.is_grad_enabled():
            return x + self.mlp(self.norm2(x))
        return by_rows(lambda rows: (rows + self.mlp(self.norm2(rows)),), x)[0]
