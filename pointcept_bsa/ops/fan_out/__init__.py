"""Parts of a projection for several uses each, whose gradients are added up in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

if triton_installed():
    from . import triton_backend

__all__ = ["fan_out"]


def fan_out(x: Tensor, uses: tuple[int, ...]) -> list[tuple[Tensor, ...]]:
    """Views ``x[:, p]``, as many of each part as ``uses`` says.

    Autograd would add up the gradients of a part two at a time, and then stack the parts; here that is one pass.

    Args:
        x: (S, P, H, D).
        uses: of each of the P parts, at least one.

    Returns:
        For each part its views (S, H, D).
    """
    views = iter(_FanOut.apply(x, uses))
    return [tuple(next(views) for _ in range(times)) for times in uses]


class _FanOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, uses: tuple[int, ...]) -> tuple[Tensor, ...]:
        ctx.uses, ctx.shape = uses, x.shape
        ctx.set_materialize_grads(False)
        return tuple(x[:, part] for part, times in enumerate(uses) for _ in range(times))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        found = [g for g in grads if g is not None]
        if not found:
            return None, None
        each = iter(grads)
        parts = [[g for g in (next(each) for _ in range(times)) if g is not None] for times in ctx.uses]
        why_not = triton_backend.unsupported(parts) if triton_installed() else None
        if use_triton("fan_out", *found, unsupported=why_not):
            return triton_backend.sum_parts_triton(parts, ctx.shape), None
        out = found[0].new_empty(ctx.shape)
        for part, summands in enumerate(parts):
            out[:, part] = sum(summands[1:], summands[0]) if summands else 0
        return out, None
