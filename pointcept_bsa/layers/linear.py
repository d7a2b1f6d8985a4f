"""Linear layers whose bias has a cheap gradient, and several of them by one matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pointcept_bsa.dispatch import choice
from pointcept_bsa.layers.product import lie_together, product
from pointcept_bsa.ops.column_sum import with_bias_gradient
from pointcept_bsa.ops.fan_out import fan_out

ALIGNED = 8  # columns


class Summand(NamedTuple):
    """What a layer adds to a residual stream, and its bias if that still wants its gradient: the column sums of the
    summand's. Whoever adds it takes them, see :func:`pointcept_bsa.ops.rms_norm.residual_norm`."""

    value: Tensor
    bias: Tensor | None = None

    def full(self) -> Tensor:
        """The summand with nothing left to do."""
        if self.bias is None:
            return self.value
        return with_bias_gradient(self.value, [self.bias])


class Linear(nn.Linear):
    """torch's Linear, (..., C) -> (..., C'). On CUDA the gradient of the bias is summed by the project's kernel, in
    float32 also where autocast computes the rest in 16 bits."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.sums_own_bias(input):
            return super().forward(input)
        return product(input, [self.weight], [self.bias.detach()], [in_full(self.bias)])

    def sums_own_bias(self, x: Tensor) -> bool:
        """Whether there is a bias that wants a gradient, and the own sum is worth it."""
        return self.bias is not None and self.bias.requires_grad and torch.is_grad_enabled() and self.sums_bias(x)

    def summand(self, input: Tensor, within: bool = True) -> Summand:
        """The result for who adds it to a residual stream; a bias is handed over where its gradient is worth a kernel.

        Args:
            input: (..., C).
            within: it is added within the same block: then any bias may be handed over. Beyond, only one with a
                stand-in: hosts that shard parameters, or wait for gradients, go by block.
        """
        if not self.sums_own_bias(input) or not (within or hasattr(self.bias, "stands_for")) or _watched(self):
            return Summand(self(input))
        return Summand(product(input, [self.weight], [self.bias.detach()]), in_full(self.bias))

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
    Compiled code is left as it is, and layers with hooks run by themselves."""
    if torch.compiler.is_compiling() or not Linear.sums_bias(x) or any(map(_watched, layers)):
        return False
    if any(layer.bias is None or layer.weight.requires_grad != layer.bias.requires_grad for layer in layers):
        return False
    if len({layer.weight.requires_grad for layer in layers}) > 1:
        return False
    return torch.is_grad_enabled() or lie_together(*(layer.weight for layer in layers))


def _watched(layer: nn.Module) -> bool:
    """Whether somebody waits for the call of this layer."""
    return any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks))


def joined_linear(x: Tensor, *layers: Linear) -> Tensor:
    """The results of several layers of the same input behind each other, by one matrix product: (..., sum of C').

    In the backward pass one product gives the gradient of x, and one those of all weights.
    """
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    if not torch.is_grad_enabled() or not biases[0].requires_grad:
        return product(x, weights, biases)
    return product(x, weights, [bias.detach() for bias in biases], list(map(in_full, biases)))


def linear_parts(
    x: Tensor, layers: Sequence[Linear], shapes: Sequence[tuple[int, ...]], uses: Sequence[int]
) -> list[tuple[Tensor, ...]]:
    """The results of several layers of the same input, taken apart: as many views of each part as it has ``uses``.

    Where that is worth it they come from one matrix product, and the gradients of the views and of the biases from one
    more kernel; else as many layers as possible, from the first on, are taken together so.

    Args:
        x: (S, C).
        layers: each makes some of the parts, in their order.
        shapes: of a row of each part, say (H, D).
        uses: of each part, at least one.

    Returns:
        For each part its views (S, *shape).
    """
    parts: list[tuple[Tensor, ...]] = []
    while layers:
        many = next((n for n in range(len(layers), 1, -1) if _fit(x, layers[:n])), 1)
        group, layers, first = layers[:many], layers[many:], len(parts)
        ends = list(accumulate(math.prod(shape) for shape in shapes[first:]))
        last = first + ends.index(sum(layer.out_features for layer in group)) + 1
        parts += _parts_of(x, group, shapes[first:last], uses[first:last])
    return parts


def _fit(x: Tensor, layers: Sequence[Linear]) -> bool:
    """Whether to join the layers: it is worth it, and rows start where vector loads can."""
    return sum(layer.out_features for layer in layers) % ALIGNED == 0 and worth_joining(x, *layers)


def _parts_of(
    x: Tensor, layers: Sequence[Linear], shapes: Sequence[tuple[int, ...]], uses: Sequence[int]
) -> list[tuple[Tensor, ...]]:
    (layer, *others) = layers
    if not others and list(uses) == [1]:  # nothing to add up
        return [(layer(x).unflatten(-1, shapes[0]),)]
    if not others and (torch.compiler.is_compiling() or _watched(layer) or not layer.sums_own_bias(x)):
        return fan_out(layer(x), uses, shapes)
    biases = [each.bias for each in layers]
    if not torch.is_grad_enabled() or not layer.bias.requires_grad:
        return fan_out(joined_linear(x, *layers), uses, shapes)
    y = product(x, [each.weight for each in layers], [bias.detach() for bias in biases])
    return fan_out(y, uses, shapes, list(map(in_full, biases)))
