"""Regression metrics, one value a cloud: the same formula for losses and evaluators.

``N`` points of ``B`` clouds, ``K`` target channels. All functions take (N, K) predictions and targets in the same
units and the cumulative ``offset`` (B,), and return (B,).
"""

from __future__ import annotations

import torch
from torch import Tensor


def cloud_mean(x: Tensor, offset: Tensor) -> Tensor:
    """Mean over the points of each cloud: (N, ...) -> (B, ...)."""
    lengths = torch.diff(offset, prepend=offset.new_zeros(1))
    return torch.segment_reduce(x, "mean", lengths=lengths, axis=0, unsafe=True)


def mse(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """Mean over points and channels of (pred - target)^2. Unit: that of the target, squared."""
    return cloud_mean((pred - target).square().mean(1), offset)


def rmse(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """Square root of :func:`mse`, per cloud. Unit: that of the target."""
    return mse(pred, target, offset).sqrt()


def mae(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """Mean over points and channels of |pred - target|. Unit: that of the target."""
    return cloud_mean((pred - target).abs().mean(1), offset)


def relative_l2(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """|pred - target| / |target| with the Euclidean norm over all points and channels of the cloud. No unit.

    A cloud whose target is zero everywhere has no relative error: inf (or nan for an exact prediction).
    """
    error = cloud_mean((pred - target).square().sum(1), offset)
    return (error / cloud_mean(target.square().sum(1), offset)).sqrt()


def r2(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """1 - sum (pred - target)^2 / sum (target - cloud mean)^2, over points and channels of the cloud. No unit."""
    lengths = torch.diff(offset, prepend=offset.new_zeros(1))
    mean = cloud_mean(target, offset).repeat_interleave(lengths, 0, output_size=target.shape[0])
    return 1 - mse(pred, target, offset) / mse(mean, target, offset)


METRICS = {"mse": mse, "rmse": rmse, "mae": mae, "relative_l2": relative_l2, "r2": r2}
