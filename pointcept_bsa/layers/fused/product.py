"""The matrix product of linear layers, and where its gradients are computed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.ops.column_sum import column_sum, with_bias_gradient
from pointcept_bsa.ops.side_streams import on_side_stream, worth_it

if TYPE_CHECKING:
    from pointcept_bsa.layers.linear import Linear


class _Joined(torch.autograd.Function):
    """Tensors one below the other; not copied where they lie so in memory. See :func:`are_adjacent`."""

    @staticmethod
    def forward(ctx: Any, adjacent: bool, *parts: Tensor) -> Tensor:
        ctx.sizes = [len(part) for part in parts]
        return _below_each_other(parts, adjacent)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *grads[0].split(ctx.sizes)


def _below_each_other(parts: Sequence[Tensor], adjacent: bool) -> Tensor:
    # Detached: the gradients of the parts are taken by whoever calls this, not through these numbers.
    first = parts[0].detach()
    if len(parts) == 1:
        return first
    if adjacent:
        # Rows beyond the end of ``first`` itself: :func:`are_adjacent` has said that the other parts lie there.
        return first.as_strided((sum(map(len, parts)), *first.shape[1:]), first.stride())
    return torch.cat([first, *(part.detach() for part in parts[1:])])


def are_adjacent(name: str, layers: Sequence[Linear]) -> bool:
    """Whether the ``"weight"`` or ``"bias"`` of layers stand one behind the other in the same memory: as 16-bit
    stand-ins do, see :class:`.Cast`."""
    places = [None if layer.cast is None else layer.cast.places.get(name) for layer in layers]
    return all(a is not None and b is not None and a.stop == b.start for a, b in pairwise(places))


def join(parts: Sequence[Tensor], adjacent: bool) -> Tensor:
    """Tensors one below the other, a view where they lie so."""
    out: Tensor = _Joined.apply(adjacent, *parts) if len(parts) > 1 else parts[0]
    return out


def product(x: Tensor, layers: Sequence[Linear], summed: Sequence[Tensor] = ()) -> Tensor:
    """x W^T + b of layers with the same input, weights and biases one below the other. Biases get no gradient here.

    In a captured graph of few rows the gradients of the weights are computed on a stream of their own: nobody waits
    for them before the end of the backward pass.

    Args:
        x: (..., C).
        layers: with biases.
        summed: parameters that get the column sums of the gradient of the result, one behind the other.
    """
    weights, biases = [layer.weight for layer in layers], [layer.bias.detach() for layer in layers]
    adjacent = are_adjacent("weight", layers), are_adjacent("bias", layers)
    return product_of(x, weights, biases, summed, adjacent)


def product_of(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    summed: Sequence[Tensor] = (),
    adjacent: tuple[bool, bool] = (False, False),
) -> Tensor:
    """The same of weights (C', C) and biases (C',), of which it is said whether they lie ``adjacent`` in memory."""
    if _separate_gradients(x, weights):
        return separate_product(x, weights, biases, summed, adjacent=adjacent, stream=on_side_stream(x))
    of_weights, of_biases = adjacent
    return with_bias_gradient(F.linear(x, join(weights, of_weights), join(biases, of_biases)), summed)


def separate_product(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    summed: Sequence[Tensor] = (),
    *,
    adjacent: tuple[bool, bool] = (False, False),
    stream: AbstractContextManager[None] | None = None,
) -> Tensor:
    """:func:`product_of` two-dimensional x; the gradients of the weights, which are of its type, and of ``summed`` are
    computed by themselves, on the stream that is current within ``stream``."""
    of_weights, of_biases = adjacent
    # Autograd runs each backward on the stream of its forward. So x and the weights have a function each: that of the
    # weights is given x without its gradient, that of x the weights without theirs.
    with stream or nullcontext():
        reminder = _WeightGradients.apply(x.detach(), len(weights), *weights, *summed)
    y = _InputGradient.apply(x, _below_each_other(weights, of_weights), _below_each_other(biases, of_biases))
    out: Tensor = _Both.apply(y, reminder)
    return out


def _separate_gradients(x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether weights, all of which want a gradient, are of the type in which x comes: 16-bit stand-ins."""
    return (
        worth_it(x)
        and torch.is_grad_enabled()
        and x.dim() == 2
        and x.requires_grad
        and x.dtype.itemsize == 2
        and all(weight.requires_grad and weight.dtype == x.dtype for weight in weights)
    )


class _InputGradient(torch.autograd.Function):
    """x W^T + b, with a gradient for x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        # With y = x W^T + b: dx = dy W. Below: dW = dy^T x, db = the sum of the rows of dy.
        return grads[0].mm(weight), None, None


class _WeightGradients(torch.autograd.Function):
    """Gives something without memory of its own whose gradient, that of the product, is what this waits for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: int, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.sizes = [len(p) for p in parameters[:layers]]
        ctx.summed = [len(p) for p in parameters[layers:]]
        ctx.summed_dtype = parameters[-1].dtype
        return x.as_strided((len(x), sum(ctx.sizes)), (0, 0))  # of the product's shape, as its gradient comes here

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x,) = grads, ctx.saved_tensors
        for tensor in (grad, x) if x.is_cuda else ():  # memory of another stream: kept until this one is done with it
            tensor.record_stream(torch.cuda.current_stream(x.device))
        out = list(grad.t().mm(x).split(ctx.sizes))
        if ctx.summed:
            out += column_sum(grad, ctx.summed_dtype).split(ctx.summed)
        return None, None, *out


class _Both(torch.autograd.Function):
    """y, whose gradient goes to the reminder, too."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, reminder: Tensor) -> Tensor:
        return y.view_as(y)  # no copy: the reminder has no numbers to add

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return grads[0], grads[0]
