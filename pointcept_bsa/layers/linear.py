"""The linear layer of all networks here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from pointcept_bsa.layers.fused.linear import linear
from pointcept_bsa.layers.fused.switch import fused

if TYPE_CHECKING:
    from pointcept_bsa.layers.fused.cast_weights import Cast


class Linear(nn.Linear):
    """torch's Linear, (..., C) -> (..., C').

    Attributes:
        cast: what a host says that has put 16-bit numbers in the place of the parameters, while they are there.
    """

    cast: Cast | None = None

    @property
    def own_bias(self) -> Tensor:
        """The bias itself, not the 16 bits that stand in for it: for who sums its gradient in float32."""
        return self.bias if self.cast is None or self.cast.bias is None else self.cast.bias

    def forward(self, input: Tensor) -> Tensor:
        return linear(self, input) if fused(input) else super().forward(input)
