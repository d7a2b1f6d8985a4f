"""Linear layers whose bias has a cheap gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.dispatch import choice
from pointcept_bsa.ops.column_sum import column_sum


class _BiasGradient(torch.autograd.Function):
    """The identity in y; the bias gets the column sum of y's gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor) -> Tensor:
        ctx.dtype = bias.dtype
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = grads
        return grad, column_sum(grad).to(ctx.dtype)


class Linear(nn.Linear):
    """torch's Linear, (..., C) -> (..., C'). On CUDA the gradient of the bias is summed by the project's kernel, in
    float32 also where autocast computes the rest in 16 bits."""

    def forward(self, input: Tensor) -> Tensor:
        bias = self.bias
        if bias is None or not bias.requires_grad or not torch.is_grad_enabled() or not self.sums_bias(input):
            return super().forward(input)
        # A 16-bit stand-in of the bias (see host.cast_weights) names the parameter, which takes the sum as it is.
        target = getattr(bias, "stands_for", bias)
        out: Tensor = _BiasGradient.apply(F.linear(input, self.weight, bias.detach()), target)
        return out

    @staticmethod
    def sums_bias(x: Tensor) -> bool:
        """Whether the own sum is worth it: on CUDA."""
        return x.is_cuda and choice() != "reference"
