"""Sums over the points of clouds, with a gradient that costs no more than they do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _CloudSum(torch.autograd.Function):
    """The gradient of torch's ``segment_reduce`` takes one thread a cloud and channel on CUDA: 0.25 ms of a training
    step with 65,536 points, 4 with a million. Here each point looks up that of its cloud."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, offset: Tensor) -> Tensor:
        lengths = torch.diff(offset, prepend=offset.new_zeros(1))
        return torch.segment_reduce(x, "sum", lengths=lengths, axis=0, unsafe=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        x, offset = inputs
        ctx.save_for_backward(offset)
        ctx.points = len(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (offset,) = ctx.saved_tensors
        cloud = torch.searchsorted(offset, torch.arange(ctx.points, device=offset.device), right=True)
        return grads[0].index_select(0, cloud), None


def cloud_sum(x: Tensor, offset: Tensor) -> Tensor:
    """(N, ...) -> (B, ...) sums over the rows of each cloud, zero for one without; ``offset`` (B,) is cumulative."""
    out: Tensor = _CloudSum.apply(x, offset)
    return out
