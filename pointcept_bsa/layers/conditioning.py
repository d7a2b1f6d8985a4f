"""Parameters of whole clouds, as inflow speed or a material, that scale and shift what the layers of a network take.

Feature-wise linear modulation (Perez et al. 2018, arXiv 1709.07871) of normed features, which is the adaptive norm of
diffusion transformers (Peebles and Xie 2023, arXiv 2212.09748) without their gates: those would begin with zero, and
the network here begins as the one without conditions.

Legend: ``B`` clouds, ``P`` parameters, ``C`` channels, ``S`` rows (points or slots) of all clouds, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import PARAMETERS
from pointcept_bsa.layers.linear import Linear

PARTS = 4  # of a block: scale and shift of what the attention takes, and of what the feed-forward layer takes


class Film(NamedTuple):
    """What a block is conditioned by.

    Attributes:
        values: (B, 4, C) scale and shift before the attention, scale and shift before the feed-forward layer.
        rows: rows of each cloud.
    """

    values: Tensor
    rows: tuple[int, ...]

    def of_attention(self, h: Tensor) -> Tensor:
        """h * (1 + scale) + shift, (S, C), of what the attention takes."""
        return modulate(h, self.values[:, 0], self.values[:, 1], self.rows)

    def of_feed_forward(self, h: Tensor) -> Tensor:
        """h * (1 + scale) + shift, (S, C), of what the feed-forward layer takes."""
        return modulate(h, self.values[:, 2], self.values[:, 3], self.rows)

    def rows_of_feed_forward(self) -> tuple[Tensor, Tensor]:
        """That scale and shift row by row, (S, C) each: for who takes some of the rows."""
        return spread(self.values[:, 2], self.rows), spread(self.values[:, 3], self.rows)


class Conditioning(nn.Module):
    """Linear, SiLU, Linear, SiLU, Linear: parameters (B, P) -> (B, 4, C) for each block of a network.

    The last map is zero at the start. Its numbers are drawn apart from all others, so that with the same seed every
    other weight of a model is that of the model without conditions.

    Args:
        parameters: P.
        widths: C of each block, in the order in which they are asked for.
        hidden: width between the maps; None: the largest C.

    Raises:
        InputError: no parameters.
    """

    starts_itself = True  # for init_weights

    def __init__(self, parameters: int, widths: Sequence[int], hidden: int | None = None):
        super().__init__()
        if isinstance(parameters, bool) or not isinstance(parameters, int) or parameters < 1:
            raise InputError(f"condition: got {parameters!r}, wanted the number of parameters of a cloud, or None")
        self.parameters_of_cloud = parameters
        self.widths = tuple(widths)
        hidden = hidden or max(self.widths)
        with torch.random.fork_rng(devices=[]):
            last = Linear(hidden, PARTS * sum(self.widths))
            self.layers = nn.Sequential(Linear(parameters, hidden), nn.SiLU(), Linear(hidden, hidden), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, point: Mapping[str, Any], clouds: int) -> list[Tensor]:
        """(B, 4, C) for each block.

        Raises:
            InputError: a batch without ``parameters`` (B, P).
        """
        given, wanted = point.get(PARAMETERS), (clouds, self.parameters_of_cloud)
        if given is None:
            raise InputError(
                f"{PARAMETERS}: missing from the batch, wanted {wanted} as condition={wanted[1]} says: parameter_keys "
                "of CollectPoints"
            )
        if tuple(given.shape) != wanted:
            raise InputError(f"{PARAMETERS}: got shape {tuple(given.shape)}, wanted {wanted}, a row a cloud")
        values = self.layers(given).split([PARTS * width for width in self.widths], dim=1)
        return [value.unflatten(1, (PARTS, -1)) for value in values]


def modulate(h: Tensor, scale: Tensor, shift: Tensor, rows: Sequence[int]) -> Tensor:
    """h * (1 + scale) + shift: (S, C), with the (B, C) of the cloud of each row."""
    if len(set(rows)) > 1:
        return scaled(h, spread(scale, rows), spread(shift, rows))
    by_cloud = h.view(len(rows), -1, h.shape[-1])
    return scaled(by_cloud, scale.unsqueeze(1), shift.unsqueeze(1)).flatten(0, 1)


def scaled(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """h * (1 + scale) + shift, in the type of h."""
    return h * (1 + scale.to(h.dtype)) + shift.to(h.dtype)


def spread(values: Tensor, rows: Sequence[int]) -> Tensor:
    """(B, C) -> (S, C), a row for each row of its cloud; a gradient of sums in a fixed order, nothing waits for it."""
    if len(rows) == 1:
        return values.expand(rows[0], -1)
    return torch.cat([value.expand(n, -1) for value, n in zip(values.split(1), rows, strict=True)])
