"""Parameters that a forward pass has no use for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class _Beside(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, *parameters: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.shapes = [p.shape for p in inputs[1:]]
        ctx.like = inputs[1].dtype, inputs[1].device

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        dtype, device = ctx.like
        sizes = [math.prod(shape) for shape in ctx.shapes]
        zeros = torch.zeros(sum(sizes), dtype=dtype, device=device).split(sizes)  # one launch for all of them
        return grad, *(part.view(shape) for part, shape in zip(zeros, ctx.shapes, strict=True))


def with_zero_gradients(x: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """``x``, whose backward pass gives ``parameters`` of one type gradients of zero.

    For parameters that some clouds need and others do not: those who train on several GPUs wait for a gradient of each.
    """
    wanted = [p for p in parameters if p.requires_grad]
    if not wanted or not x.requires_grad or not torch.is_grad_enabled():
        return x
    out: Tensor = _Beside.apply(x, *wanted)
    return out
