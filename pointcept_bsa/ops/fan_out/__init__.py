"""Parts of a projection for several uses each, whose gradients are added up in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton
from pointcept_bsa.ops.column_sum import column_sum

if triton_installed():
    from . import triton_backend

__all__ = ["fan_out"]


def fan_out(
    x: Tensor, uses: Sequence[int], shapes: Sequence[tuple[int, ...]] | None = None, biases: Sequence[Tensor] = ()
) -> list[tuple[Tensor, ...]]:
    """Views of the parts of each row of x, as many of each part as ``uses`` says.

    Autograd would add up the gradients of a part two at a time, then put the parts together, then sum up the rows for
    the biases; here that is one pass.

    Args:
        x: (S, P, H, D), of P equal parts; or (S, C) with ``shapes``.
        uses: of each of the P parts, at least one.
        shapes: of the rows of each part, which stand behind each other and make up C: say (H, D), or (E,).
        biases: of C numbers, one behind the other, that were added to x without autograd's knowing. They get the sums
            over the rows of the gradient of x, taken in float32 or better, in the type of the first.

    Returns:
        For each part its views (S, *shape).
    """
    if shapes is None:
        shapes = [tuple(x.shape[2:])] * x.shape[1]
    views = iter(_FanOut.apply(x, tuple(uses), tuple(shapes), *biases))
    return [tuple(next(views) for _ in range(times)) for times in uses]


class _FanOut(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, uses: tuple[int, ...], shapes: tuple[tuple[int, ...], ...], *biases: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.uses, ctx.shape, ctx.widths = uses, x.shape, [math.prod(shape) for shape in shapes]
        ctx.starts = [sum(ctx.widths[:part]) for part in range(len(shapes))]
        ctx.sizes, ctx.dtype = [len(bias) for bias in biases], biases[0].dtype if biases else None
        ctx.set_materialize_grads(False)
        rows = x.flatten(1)
        return tuple(
            rows[:, start : start + width].view(-1, *shape)
            for start, width, shape, times in zip(ctx.starts, ctx.widths, shapes, uses, strict=True)
            for _ in range(times)
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found = [g for g in grads if g is not None]
        if not found:
            return None, None, None, *[None] * len(ctx.sizes)
        each = iter(grads)
        parts = [[g for g in (next(each) for _ in range(times)) if g is not None] for times in ctx.uses]
        why_not = triton_backend.unsupported(parts, ctx.shape) if triton_installed() else None
        if use_triton("fan_out", *found, unsupported=why_not):
            out, total = triton_backend.sum_parts_triton(parts, ctx.widths, ctx.shape, ctx.dtype)
        else:
            out = found[0].new_empty(ctx.shape[0], sum(ctx.widths))
            for start, width, summands in zip(ctx.starts, ctx.widths, parts, strict=True):
                out[:, start : start + width] = sum(summands[1:], summands[0]).flatten(1) if summands else 0
            total = column_sum(out, ctx.dtype) if ctx.sizes else out
            out = out.view(ctx.shape)
        return out, None, None, *(total.split(ctx.sizes) if ctx.sizes else ())
