"""Exponential moving average of the weights, evaluated and tested in their place.

torch's ``AveragedModel`` waits for the device in every update; its averaging function, used here, does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pointcept_bsa.errors import InputError


class MovingAverage:
    """``average = decay average + (1 - decay) weight`` after every iteration; it begins as the first one's weights.

    Buffers are not averaged. Parameters that are not trained are left out.

    Args:
        model: whose parameters are averaged.
        decay: in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not isinstance(decay, int | float) or not 0 <= decay < 1:
            raise InputError(f"ema.decay={decay!r}: expected a number from 0 to below 1")
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages: dict[str, Tensor] = {}
        self._average = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        if not self.averages:
            self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}
            return
        groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for name, average in self.averages.items():
            averages, weights = groups.setdefault(average.dtype, ([], []))
            averages.append(average)
            weights.append(self.parameters[name].detach())
        for averages, weights in groups.values():
            self._average(averages, weights, 0)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within, the model has the averages as its weights (the tensors change places, nothing is copied)."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, average in self.averages.items():
            parameter = self.parameters[name]
            self.averages[name], parameter.data = parameter.data, average

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by the names of their parameters."""
        return dict(self.averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Undo ``state_dict``. Raises ``InputError`` for another model's."""
        if state.keys() - self.parameters.keys() or (state and self.parameters.keys() - state.keys()):
            raise InputError("ema: the checkpoint has averages of other parameters than this model's")
        self.averages = {name: value.to(self.parameters[name].device, copy=True) for name, value in state.items()}
