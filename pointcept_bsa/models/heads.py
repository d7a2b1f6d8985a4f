"""Heads: from backbone features to predictions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.linear import Linear


@MODELS.register_module("RegressionHead")
class RegressionHead(nn.Module):
    """Linear, GELU, Linear: (N, in_channels) -> (N, out_channels).

    Args:
        in_channels: the backbone's ``out_channels``.
        out_channels: K, number of target channels.
        hidden_channels: width between the two maps; default ``in_channels``.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int | None = None):
        super().__init__()
        hidden_channels = hidden_channels or in_channels
        self.in_channels, self.out_channels = in_channels, out_channels
        self.layers = nn.Sequential(
            Linear(in_channels, hidden_channels), nn.GELU(), Linear(hidden_channels, out_channels)
        )

    def forward(self, feat: Tensor) -> Tensor:
        return self.layers(feat)


def predicts_variance(module: Any) -> bool:
    """Whether a head gives mean and deviation, or a model a variance beside its prediction."""
    return bool(getattr(module, "predicts_variance", False))
