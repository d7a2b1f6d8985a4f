"""Linear layers whose bias has a cheap gradient, and several of them by one matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.layers.fused.product import are_adjacent, product, product_of
from pointcept_bsa.ops.column_sum import with_bias_gradient
from pointcept_bsa.ops.fan_out import fan_out

if TYPE_CHECKING:
    from pointcept_bsa.layers.linear import Linear

ALIGNED = 8  # columns


class Summand(NamedTuple):
    """What a layer adds to a residual stream, and its bias if that still wants its gradient: the column sums of the
    summand's. Whoever adds it takes them, see :func:`pointcept_bsa.ops.rms_norm.residual_norm`."""

    value: Tensor
    bias: Tensor | None = None

    def to_tensor(self) -> Tensor:
        """The summand with nothing left to do."""
        if self.bias is None:
            return self.value
        return with_bias_gradient(self.value, [self.bias])


def linear(layer: Linear, x: Tensor) -> Tensor:
    """layer(x); the gradient of the bias is summed by the project's kernel, in float32 also where autocast computes the
    rest in 16 bits."""
    if not _sums_bias(layer):
        return F.linear(x, layer.weight, layer.bias)
    return product(x, [layer], [master_parameter(layer, "bias")])


def summand(layer: Linear, x: Tensor, within: bool = True) -> Summand:
    """layer(x) for who adds it to a residual stream; a bias is handed over where its gradient is worth a kernel.

    Args:
        x: (..., C).
        within: it is added within the same block: then any bias may be handed over. Beyond, only one with a stand-in:
            hosts that shard parameters, or wait for gradients, go by block.
    """
    if not hands_over_bias(layer, within) or _watched(layer):
        return Summand(layer(x))
    return Summand(product(x, [layer]), master_parameter(layer, "bias"))


def hands_over_bias(layer: Linear, within: bool) -> bool:
    """Whether a layer leaves the gradient of its bias to who adds its result to a residual stream: see
    :func:`summand`."""
    return _sums_bias(layer) and (within or has_stand_in(layer))


def has_stand_in(layer: Linear) -> bool:
    """Whether 16 bits stand in for the bias of a layer."""
    return layer.cast is not None and layer.cast.bias is not None


def master_parameter(layer: Linear, name: str) -> Tensor:
    """The ``"weight"`` or ``"bias"`` of a layer, not the 16 bits that stand in for it, see :class:`.Cast`."""
    own: Tensor | None = None if layer.cast is None else getattr(layer.cast, name)
    to_tensor: Tensor = getattr(layer, name) if own is None else own
    return to_tensor


def first_columns(layer: Linear, x: Tensor, columns: int) -> Tensor:
    """layer(x)[..., :columns]."""
    weight, bias = layer.weight[:columns], layer.bias[:columns]
    if not _sums_bias(layer):
        return F.linear(x, weight, bias)
    return product_of(x, [weight], [bias.detach()], [master_parameter(layer, "bias")[:columns]])


def alike(*layers: Linear) -> bool:
    """Whether one operator may stand for several layers: all have biases, and all parameters are trained or none.
    Compiled code is left as it is, and layers with hooks run by themselves."""
    if torch.compiler.is_compiling() or any(map(_watched, layers)):
        return False
    if any(layer.bias is None or layer.weight.requires_grad != layer.bias.requires_grad for layer in layers):
        return False
    return len({layer.weight.requires_grad for layer in layers}) == 1


def worth_joining(*layers: Linear) -> bool:
    """Whether :func:`joined_linear` saves anything: launches, of training, or where nothing must be copied."""
    # Unless they lie side by side already, joining copies the weights in every call.
    return alike(*layers) and (torch.is_grad_enabled() or are_adjacent("weight", layers))


def _sums_bias(layer: Linear) -> bool:
    return layer.bias is not None and layer.bias.requires_grad and torch.is_grad_enabled()


def _watched(layer: nn.Module) -> bool:
    """Whether somebody waits for the call of this layer."""
    return any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks))


def joined_linear(x: Tensor, *layers: Linear) -> Tensor:
    """The results of several layers of the same input behind each other, by one matrix product: (..., sum of C').

    In the backward pass one product gives the gradient of x, and one those of all weights.
    """
    return product(x, layers, [master_parameter(layer, "bias") for layer in layers] if _sums_bias(layers[0]) else ())


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
        many = next((n for n in range(len(layers), 1, -1) if _fit(layers[:n])), 1)
        group, layers, first = layers[:many], layers[many:], len(parts)
        ends = list(accumulate(math.prod(shape) for shape in shapes[first:]))
        last = first + ends.index(sum(layer.out_features for layer in group)) + 1
        parts += _parts_of(x, group, shapes[first:last], uses[first:last])
    return parts


def _fit(layers: Sequence[Linear]) -> bool:
    """Whether to join the layers: it is worth it, and rows start where vector loads can."""
    return sum(layer.out_features for layer in layers) % ALIGNED == 0 and worth_joining(*layers)


def _parts_of(
    x: Tensor, layers: Sequence[Linear], shapes: Sequence[tuple[int, ...]], uses: Sequence[int]
) -> list[tuple[Tensor, ...]]:
    (layer, *others) = layers
    if not others and list(uses) == [1]:  # nothing to add up
        return [(layer(x).unflatten(-1, shapes[0]),)]
    if not others and (torch.compiler.is_compiling() or _watched(layer) or not _sums_bias(layer)):
        return fan_out(layer(x), uses, shapes)
    biases = [master_parameter(each, "bias") for each in layers] if _sums_bias(layer) else []
    return fan_out(product(x, layers), uses, shapes, biases)
