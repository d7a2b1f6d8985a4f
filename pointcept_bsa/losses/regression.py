"""Losses for regression. ``N`` points of ``B`` clouds, ``K`` target channels."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import LOSSES
from pointcept_bsa.metrics import gaussian_nll, mae, mse, relative_l2


class RegressionLoss(nn.Module):
    """A loss of (N, K) predictions and targets, weighed by ``loss_weight``.

    Without ``offset`` all points count as one cloud, so that hosts that call ``loss(pred, target)`` can use it.

    Args:
        loss_weight: factor.
        physical: hand the loss physical units instead of normalised values.

    A class that says ``shares_clouds = True`` takes of clouds no other numbers than :func:`.cloud_mean` gives: so it is
    that of whole clouds, and the same, in all processes that have a part of each.
    """

    shares_clouds = False

    def __init__(self, loss_weight: float = 1.0, physical: bool = False):
        super().__init__()
        self.loss_weight = loss_weight
        self.physical = physical

    @property
    def takes_valid(self) -> bool:
        """Whether ``value`` can leave out rows that are no points."""
        return "valid" in inspect.signature(self.value).parameters

    def forward(
        self, pred: Tensor, target: Tensor, offset: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Scalar. Rows that are not ``valid`` (N,) do not count."""
        if offset is None:
            offset = target.new_full((1,), target.shape[0], dtype=torch.long)
        masks = {} if valid is None else {"valid": valid}
        return self.loss_weight * self.value(pred, target, offset, **masks)

    def value(self, pred: Tensor, target: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
        """The unweighted loss."""
        raise NotImplementedError


@LOSSES.register_module("MSELoss")
class MSELoss(RegressionLoss):
    """Mean over clouds of the mean squared error of a cloud."""

    shares_clouds = True

    def value(self, pred: Tensor, target: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
        return mse(pred, target, offset, valid).mean()


@LOSSES.register_module("WeightedMSELoss")
class WeightedMSELoss(RegressionLoss):
    """Mean over clouds of the mean over points and channels of weight times squared error.

    Args:
        channel_weights: a number for each of the K channels.
        loss_weight, physical: see :class:`RegressionLoss`.
    """

    shares_clouds = True

    def __init__(self, channel_weights: Sequence[float], loss_weight: float = 1.0, physical: bool = False):
        super().__init__(loss_weight, physical)
        if not len(channel_weights) or not all(0 <= w < float("inf") for w in channel_weights):
            raise InputError(f"WeightedMSELoss.channel_weights: got {channel_weights!r}, wanted numbers of at least 0")
        self.channel_weights = tuple(float(w) for w in channel_weights)

    def value(self, pred: Tensor, target: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
        if target.shape[1] != len(self.channel_weights):
            raise InputError(
                f"WeightedMSELoss.channel_weights: got {len(self.channel_weights)} numbers, wanted {target.shape[1]}"
            )
        root = target.new_tensor(self.channel_weights).sqrt()
        return mse(pred * root, target * root, offset, valid).mean()


@LOSSES.register_module("L1Loss")
class L1Loss(RegressionLoss):
    """Mean over clouds of the mean absolute error of a cloud."""

    shares_clouds = True

    def value(self, pred: Tensor, target: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
        return mae(pred, target, offset, valid).mean()


@LOSSES.register_module("RelativeL2Loss")
class RelativeL2Loss(RegressionLoss):
    """Mean over clouds of |pred - target| / |target|, by default in physical units (as Transolver trains)."""

    shares_clouds = True

    def __init__(self, loss_weight: float = 1.0, physical: bool = True):
        super().__init__(loss_weight, physical)

    def value(self, pred: Tensor, target: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
        return relative_l2(pred, target, offset, valid).mean()


# Losses of predicted distributions. ``N`` points of ``B`` clouds, ``K`` target channels.


@LOSSES.register_module("GaussianNLLLoss")
class GaussianNLLLoss(nn.Module):
    """Mean over clouds of the negative log likelihood of a cloud under independent normal distributions.

    See :func:`pointcept_bsa.metrics.gaussian_nll`; in normalised units. It needs a model that predicts a variance, as
    ``GaussianRegressor``. Erwin takes the mean over all points of a batch, which is the same for clouds of one size.

    Args:
        loss_weight: factor.
    """

    takes_variance = True
    takes_valid = True
    shares_clouds = True

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        offset: Tensor | None = None,
        variance: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Scalar. Rows that are not ``valid`` (N,) do not count. Raises InputError without ``variance`` (N, K)."""
        if variance is None:
            raise InputError("GaussianNLLLoss: got a model that predicts no variance, wanted type='GaussianRegressor'")
        if offset is None:
            offset = target.new_full((1,), target.shape[0], dtype=torch.long)
        return self.loss_weight * gaussian_nll(pred, target, offset, variance, valid).mean()
