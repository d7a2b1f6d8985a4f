"""Weights of linear layers in 16 bits, cast all at once.

Autocast casts each weight and bias where it is used, and each gradient back: four small kernels a layer and parameter
that move hardly any bytes. Here all of them are cast by a few kernels before the forward pass, and all gradients after
the backward pass. The numbers are those of autocast, but for the bias of a layer that sums its gradient in float32: it
leaves it at the parameter itself, which its :class:`Cast` names, unrounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor, nn

ALIGNED = 8  # elements of 16 bits


@dataclass
class Cast:
    """Of one layer: its own parameters while stand-ins hold their places, and where those lie in one piece of memory.

    Attributes:
        weight, bias: the parameters in float32; None for one without a stand-in.
        places: of the stand-ins, in elements, by the parameter's name.
    """

    weight: nn.Parameter | None = None
    bias: nn.Parameter | None = None
    places: dict[str, slice] = field(default_factory=dict)


class CastWeights:
    """16-bit stand-ins of the weights and biases of the ``nn.Linear`` modules of a model.

    A parameter that several modules share is left alone: its gradients would be added up in 16 bits. Weights of modules
    that follow each other lie behind each other, and so do biases. Layers with a field ``cast`` are told all this.

    Args:
        model: in float32.
        dtype: that of autocast.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        owners: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                owners.setdefault(parameter, []).append((module, name))
        self.places = [
            (parameter, *places[0])
            for parameter, places in owners.items()
            if len(places) == 1
            and isinstance(places[0][0], nn.Linear)
            and parameter.requires_grad
            and parameter.dtype == torch.float32
        ]
        self.places.sort(key=lambda place: place[0].dim() < 2)  # all weights, then all biases
        sizes = [parameter.numel() for parameter, _, _ in self.places]
        starts = _starts(sizes)
        parameters = [parameter for parameter, _, _ in self.places]
        self.masters: list[Tensor] = list(parameters)
        self.stand_ins = _side_by_side(parameters, starts, dtype)
        self.casts: dict[nn.Module, Cast] = {}
        for (parameter, module, name), start, size in zip(self.places, starts, sizes, strict=False):
            if hasattr(module, "cast"):
                cast = self.casts.setdefault(module, Cast())
                setattr(cast, name, parameter)
                cast.places[name] = slice(start, start + size)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """While this lasts the modules hold the stand-ins, freshly cast; their gradients arrive at the stand-ins.

        Within, the weights must not be changed.
        """
        with torch.no_grad():
            if self.places:
                # Each list is of one type: of mixed ones torch copies tensor by tensor.
                torch._foreach_copy_(self.stand_ins, self.masters)
        try:
            for (_, module, name), stand_in in zip(self.places, self.stand_ins, strict=True):
                stand_in.grad = None
                # Not by setattr, which takes a Parameter alone: a stand-in is a plain leaf.
                module._parameters[name] = stand_in  # type: ignore[assignment]
            for module, cast in self.casts.items():
                module.cast = cast  # type: ignore[assignment]
            yield
        finally:
            for module in self.casts:
                module.cast = None  # type: ignore[assignment]
            for parameter, module, name in self.places:
                module._parameters[name] = parameter

    def gradients(self) -> dict[nn.Parameter, Tensor]:
        """The gradients of the parameters that have stand-ins, in 16 bits."""
        return {
            parameter: stand_in.grad
            for (parameter, _, _), stand_in in zip(self.places, self.stand_ins, strict=True)
            if stand_in.grad is not None
        }


def _starts(sizes: list[int]) -> list[int]:
    """Where pieces of these sizes begin, one after the other, each where vector loads can; then where the last ends."""
    return list(accumulate((-(-size // ALIGNED) * ALIGNED for size in sizes), initial=0))


def _side_by_side(parameters: list[nn.Parameter], starts: list[int], dtype: torch.dtype) -> list[Tensor]:
    """Leaves of the parameters' shapes in one piece of memory, in their order."""
    if not parameters:
        return []
    memory = torch.zeros(starts[-1], dtype=dtype, device=parameters[0].device)
    return [
        memory[start : start + p.numel()].view(p.shape).detach().requires_grad_()
        for start, p in zip(starts, parameters, strict=False)
    ]
