"""Linear layers whose bias has a cheap gradient, and several of them by one matrix product."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.dispatch import choice
from pointcept_bsa.ops.column_sum import column_sum


class _BiasGradient(torch.autograd.Function):
    """The identity in y; the biases, one behind the other, get the column sums of y's gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, *biases: Tensor) -> Tensor:
        ctx.sizes, ctx.dtype = [len(bias) for bias in biases], biases[0].dtype
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        (grad,) = grads
        total = column_sum(grad, ctx.dtype)
        return grad, *(total.split(ctx.sizes) if len(ctx.sizes) > 1 else [total])


class _Joined(torch.autograd.Function):
    """Tensors one below the other; not copied where they lie so in memory. See :func:`lie_together`."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.sizes = [len(part) for part in parts]
        first = parts[0].detach()
        if lie_together(*parts):
            return first.as_strided((sum(ctx.sizes), *first.shape[1:]), first.stride())
        return torch.cat([first, *(part.detach() for part in parts[1:])])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return grads[0].split(ctx.sizes)


def lie_together(*parts: Tensor) -> bool:
    """Whether tensors stand one behind the other in the same memory, as ``host.cast_weights`` lays its stand-ins."""
    return all(
        a.is_contiguous()
        and b.is_contiguous()
        and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
        and a.data_ptr() + a.nbytes == b.data_ptr()
        for a, b in pairwise(parts)
    )


class Linear(nn.Linear):
    """torch's Linear, (..., C) -> (..., C'). On CUDA the gradient of the bias is summed by the project's kernel, in
    float32 also where autocast computes the rest in 16 bits."""

    def forward(self, input: Tensor) -> Tensor:
        bias = self.bias
        if bias is None or not bias.requires_grad or not torch.is_grad_enabled() or not self.sums_bias(input):
            return super().forward(input)
        out: Tensor = _BiasGradient.apply(F.linear(input, self.weight, bias.detach()), in_full(bias))
        return out

    @staticmethod
    def sums_bias(x: Tensor) -> bool:
        """Whether the own sum is worth it: on CUDA."""
        return x.is_cuda and choice() != "reference"


def in_full(parameter: Tensor) -> Tensor:
    """The parameter for which a 16-bit stand-in stands (see host.cast_weights), else the parameter itself."""
    full: Tensor = getattr(parameter, "stands_for", parameter)
    return full


def worth_joining(x: Tensor, *layers: Linear) -> bool:
    """Whether :func:`joined_linear` saves anything: launches on CUDA, of training, or where nothing must be copied.
    Compiled code is left as it is."""
    if torch.compiler.is_compiling() or not Linear.sums_bias(x):
        return False
    if any(layer.bias is None or layer.weight.requires_grad != layer.bias.requires_grad for layer in layers):
        return False
    if len({layer.weight.requires_grad for layer in layers}) > 1:
        return False
    return torch.is_grad_enabled() or lie_together(*(layer.weight for layer in layers))


def joined_linear(x: Tensor, *layers: Linear) -> Tensor:
    """The results of several layers of the same input behind each other, by one matrix product: (..., sum of C').

    In the backward pass one product gives the gradient of x, and one those of all weights.
    """
    weight = _Joined.apply(*(layer.weight for layer in layers))
    biases = [layer.bias for layer in layers]
    if not torch.is_grad_enabled() or not biases[0].requires_grad:
        return F.linear(x, weight, _Joined.apply(*biases))
    out: Tensor = F.linear(x, weight, _Joined.apply(*(bias.detach() for bias in biases)))
    return _BiasGradient.apply(out, *(in_full(bias) for bias in biases))
