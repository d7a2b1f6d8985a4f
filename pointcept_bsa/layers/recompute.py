"""Activation checkpointing: what the backward pass needs is computed once more there instead of kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from pointcept_bsa.ops.side_streams import one_stream

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
    """The value of an argument ``checkpoint``.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(how, bool) and how != SELECTIVE:
        raise ValueError(f"checkpoint: got {how!r}, wanted True, False or {SELECTIVE!r}")
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
