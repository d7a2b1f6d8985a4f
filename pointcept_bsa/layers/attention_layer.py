"""What attention layers of a transformer block have in common: how they begin and end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.layers.conditioning import Film
from pointcept_bsa.layers.fused.attention import attention
from pointcept_bsa.layers.fused.switch import fused
from pointcept_bsa.layers.linear import Linear


class AttentionLayer(nn.Module):
    """h = x + W_pos position, scaled and shifted by a film if there is one; some attention of h; a projection.

    Attributes:
        fused_attend: ``attend`` for the GPU, see :mod:`.fused.attention`.
    """

    position: Linear
    projection: Linear
    fused_attend: Callable[..., Tensor]

    @abstractmethod
    def attend(self, h: Tensor, *geometry: Any) -> Tensor:
        """(S, C), and where the slots are -> (S, ...) that the projection takes."""

    def relative_position(self, *geometry: Any) -> Tensor:
        """(S, d) positions that are added to the features."""
        layout: BallLayout = geometry[0]
        return layout.relative

    def with_position(self, x: Tensor, *geometry: Any) -> Tensor:
        """x + W_pos position: (S, C) -> (S, C).

        Raises:
            ValueError: x without a row for each position.
        """
        relative_position = self.relative_position(*geometry)
        if len(relative_position) != len(x):
            raise ValueError(f"x: got {len(x)} rows, wanted {len(relative_position)}, one for each slot or point")
        return x + self.position(relative_position)

    def forward(self, x: Tensor, *geometry: Any, film: Film | None = None) -> Tensor:
        """(S, C) -> (S, C); ``film`` scales and shifts h. Raises ValueError as :meth:`with_position`."""
        if fused(x):
            return attention(self, x, *geometry, film=film)  # type: ignore[return-value]  # in a block a summand
        h = self.with_position(x, *geometry)
        return self.projection(self.attend(h if film is None else film.of_attention(h), *geometry))
