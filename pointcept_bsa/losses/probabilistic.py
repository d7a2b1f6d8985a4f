"""Losses of predicted distributions. ``N`` points of ``B`` clouds, ``K`` target channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import LOSSES
from pointcept_bsa.metrics import gaussian_nll


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
