"""A normal distribution for every value of a field: head and model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS
from pointcept_bsa.models.heads import RegressionHead
from pointcept_bsa.models.regressor import DefaultRegressor
from pointcept_bsa.models.scalars import with_scalars

SMALLEST_STD = 1e-6


def mixture(pred: Tensor, variance: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and variance of a mixture of M distributions in equal parts, by the law of total variance.

    Mean: that of the means. Variance: the mean of the variances, and the variance (over M, not M - 1) of the means.

    Args:
        pred: (M, ...) means.
        variance: (M, ...); None: zeros.

    The variance is float64: squares of densities (1e25 / m^3) or charges (1e-19 C) are beyond float32.
    """
    between = pred.double().var(0, correction=0)
    return pred.mean(0), between if variance is None else variance.double().mean(0) + between


@MODELS.register_module("GaussianHead")
class GaussianHead(nn.Module):
    """Linear, GELU, Linear: (N, in_channels) -> mean and standard deviation, (N, out_channels) each.

    The deviation is 1e-6 + softplus of the second half, as Erwin's for molecular dynamics.

    Args:
        in_channels: the backbone's ``out_channels``.
        out_channels: K, number of target channels.
        hidden_channels: width between the two maps; default ``in_channels``.
    """

    predicts_variance = True

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int | None = None):
        super().__init__()
        hidden_channels = hidden_channels or in_channels
        self.in_channels, self.out_channels = in_channels, out_channels
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden_channels), nn.GELU(), nn.Linear(hidden_channels, 2 * out_channels)
        )

    def forward(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = self.layers(feat).split(self.out_channels, dim=-1)
        if mean.itemsize < 4:  # in half precision 1e-6 beside 1 is nothing
            mean, spread = mean.float(), spread.float()
        return mean, SMALLEST_STD + F.softplus(spread)


@MODELS.register_module("GaussianRegressor")
class GaussianRegressor(DefaultRegressor):
    """Predicts an independent normal distribution of each value of a field.

    ``N`` points, ``K`` target channels. Arguments as :class:`.DefaultRegressor`, but the head returns mean and standard
    deviation (``GaussianHead``). Criteria of values, as ``MSELoss``, are given the mean.
    """

    predicts_variance = takes_variance = hands_on = True

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        if isinstance(self.head, RegressionHead):
            raise InputError("head.type: RegressionHead predicts no deviation, wanted GaussianHead with it")

    def forward(self, input_dict: Mapping[str, Any]) -> dict[str, Tensor]:
        """One batch.

        Returns:
            In training scalars only, as :class:`.DefaultRegressor`. In evaluation, in physical units, ``pred`` (N, K),
            the mean, and ``variance`` (N, K), and ``loss`` if the batch has a ``target``; ``scalars`` as there.

        Raises:
            InputError: as :class:`.DefaultRegressor`.
        """
        valid = self.counted(input_dict)
        feat = self.features(input_dict)
        mean, std = self.head(feat)
        target = input_dict.get("target")
        if self.training and target is None:
            raise InputError("target: missing from the batch, wanted (N, K) values to train on")
        out = {} if target is None else self.losses(mean, target, input_dict["offset"], std.square(), valid)
        if not self.training:
            out |= self.physical(mean, std)
        return with_scalars(out, self.scalars, feat, input_dict, self.training)

    def outputs(self, feat: Tensor) -> dict[str, Tensor]:
        return self.physical(*self.head(feat))

    def physical(self, mean: Tensor, std: Tensor) -> dict[str, Tensor]:
        """``pred`` and ``variance`` (float64, see :func:`mixture`) of a normalised distribution."""
        return {"pred": self.normalizer.denormalize(mean), "variance": (std.double() * self.normalizer.std).square()}

    def predict(self, input_dict: Mapping[str, Any]) -> Tensor:
        """Normalised mean (N, K)."""
        return self.distribution(input_dict)[0]

    def distribution(self, input_dict: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Normalised mean and standard deviation (N, K)."""
        return self.head(self.features(input_dict))

    def field(self, feat: Tensor) -> Tensor:
        """Normalised mean (N, K)."""
        mean: Tensor = self.head(feat)[0]
        return mean
