"""All gradients of a model side by side in one tensor, averaged over the processes in one go.

``DistributedDataParallel`` averages by hooks within the backward pass, which a CUDA graph of that pass cannot hold.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pointcept_bsa.distributed.collectives import GRADIENTS, reduce

ALIGNED = 64  # elements: every gradient starts where vector loads can


class FlatGradients:
    """The gradients of the trained parameters; their tensors stay the same for good.

    ``optimizer.zero_grad`` would part them from their parameters: call ``zero_``, or ``part`` and ``take``.
    """

    def __init__(self, model: nn.Module) -> None:
        groups: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups.setdefault(parameter.dtype, []).append(parameter)
        self.places: dict[nn.Parameter, Tensor] = {}
        self.buffers = [self._lay_out(parameters) for parameters in groups.values()]

    def _lay_out(self, parameters: list[nn.Parameter]) -> Tensor:
        starts, total = [], 0
        for parameter in parameters:
            starts.append(total)
            total += -(-parameter.numel() // ALIGNED) * ALIGNED
        buffer = parameters[0].new_zeros(total)
        for start, parameter in zip(starts, parameters, strict=True):
            parameter.grad = self.places[parameter] = buffer[start : start + parameter.numel()].view_as(parameter)
        return buffer

    def zero_(self) -> None:
        """Begin anew."""
        for buffer in self.buffers:
            buffer.zero_()

    def part(self) -> None:
        """Let the next backward pass leave gradients of its own, which it need not add to anything: ``take`` them."""
        for parameter in self.places:
            parameter.grad = None

    def take(self, others: dict[nn.Parameter, Tensor] | None = None) -> None:
        """Copy the gradients that the backward pass left, by a few kernels; those of parameters without any are zero.

        Args:
            others: gradients that arrived elsewhere, of any floating type.
        """
        found = {p: p.grad for p in self.places if p.grad is not None} | (others or {})
        for parameter, place in self.places.items():
            if parameter not in found:
                place.zero_()
            parameter.grad = place
        # One pair of types at a time, and laid out alike: otherwise torch copies them one by one.
        groups: dict[tuple[torch.dtype, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
        for parameter, gradient in found.items():
            places, gradients = groups.setdefault((parameter.dtype, gradient.dtype), ([], []))
            places.append(self.places[parameter].view(-1))
            gradients.append(gradient.reshape(-1))
        with torch.no_grad():
            for places, gradients in groups.values():
                torch._foreach_copy_(places, gradients)

    def average(self) -> None:
        """Make each gradient the mean over the processes."""
        processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if processes == 1:
            return
        everyone = dist.group.WORLD
        assert everyone is not None
        for buffer in self.buffers:
            reduce(buffer, everyone, GRADIENTS)
            buffer /= processes
