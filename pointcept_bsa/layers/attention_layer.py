"""What attention layers of a transformer block have in common: how they begin and end."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.layers.linear import Linear, Summand
from pointcept_bsa.layers.norm import RMSNorm, placed
from pointcept_bsa.layers.residual import Residual


class AttentionLayer(nn.Module):
    """h = x + W_pos position, some attention of h, a projection.

    A layer of its own is called as ``layer(x, *geometry)``. Within a block, ``enter`` takes what stands before it in
    the same kernel, and the layer gives a :class:`.Summand`.
    """

    position: Linear
    projection: Linear

    @abstractmethod
    def attend(self, h: Tensor, *geometry: Any) -> Tensor:
        """(S, C), and where the slots are -> (S, ...) that the projection takes."""

    def place(self, *geometry: Any) -> Tensor:
        """(S, d) positions that are added to the features."""
        layout: BallLayout = geometry[0]
        return layout.relative

    def enter(self, stream: Residual, norm: RMSNorm, *geometry: Any) -> tuple[Tensor, Tensor]:
        """The total of the stream, and h of its norm: x and ``entered`` of ``forward``."""
        return stream.normed(norm, self.place(*geometry), self.position)

    def forward(
        self, x: Tensor, *geometry: Any, norm: RMSNorm | None = None, entered: Tensor | None = None
    ) -> Tensor | Summand:
        """(S, C) -> (S, C), of norm(x) where there is a norm; with what ``enter`` gave for x, as a summand.

        Raises:
            ValueError: x without a row for each position.
        """
        if entered is None:
            place = self.place(*geometry)
            if len(place) != len(x):
                raise ValueError(f"x: got {len(x)} rows, wanted {len(place)}, one for each slot or point")
            return self.projection(self.attend(placed(x, norm, place, self.position), *geometry))
        return self.projection.summand(self.attend(entered, *geometry))
