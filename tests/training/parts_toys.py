"""A network of each point and of means over clouds: exact for any parts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.datasets.transforms import keep_points
from pointcept_bsa.host import LOSSES, MODELS, TRANSFORMS, Point
from pointcept_bsa.layers.cloud_norm import normalize_rows
from pointcept_bsa.losses.regression import RegressionLoss


@MODELS.register_module("Pointwise-toy")
class Pointwise(Backbone):
    """Linear, norm, tanh, linear of the features of a point."""

    shares_clouds = True

    def __init__(self, in_channels: int, channels: int = 16, dimensionality: int = 3) -> None:
        super().__init__(in_channels, channels, dimensionality)
        self.before = nn.Linear(in_channels, channels, bias=False)  # whose gradient would be rounding behind a mean
        self.norm = nn.BatchNorm1d(channels)
        self.after = nn.Sequential(nn.Tanh(), nn.Linear(channels, channels))

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        assert sum(lengths) == len(point["feat"])
        return self.after(normalize_rows(self.norm, self.before(point["feat"]), lambda: lengths))


@MODELS.register_module("Unheard-toy")
class Unheard(Pointwise):
    """The same, with a parameter that nothing uses."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.unheard = nn.Parameter(torch.ones(3))


@MODELS.register_module("Whole-toy")
class Whole(Pointwise):
    """The same, which says that it wants whole clouds."""

    shares_clouds = False


@TRANSFORMS.register_module()
class Thin:
    """Clouds of any number of points, drawn at random."""

    def __call__(self, data: dict) -> dict:
        return keep_points(data, np.sort(np.random.permutation(len(data["coord"]))[: np.random.randint(12, 28)]))


@TRANSFORMS.register_module()
class Spoil:
    """Makes the normal of the last point no number."""

    def __call__(self, data: dict) -> dict:
        data["normal"][-1] = np.nan
        return data


@LOSSES.register_module()
class OwnLoss(RegressionLoss):
    """One that takes a mean by itself."""

    def value(self, pred, target, offset, valid=None):
        return (pred - target).square().mean()
