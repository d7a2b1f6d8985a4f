"""Regression metrics, one value a cloud: the same formula for losses and evaluators.

``N`` points of ``B`` clouds, ``K`` target channels. All functions take (N, K) predictions and targets in the same
units and the cumulative ``offset`` (B,), and return (B,). What is reported of a set is the mean over its clouds: every
cloud counts the same, however many points it has. Points and channels of a cloud count the same too. Those that serve
as losses take ``valid``, see :func:`cloud_mean`.

A target of several fields is judged field by field, see ``training.evaluation.target_fields``.

In *physical* units the values are those of the data set's card. In *normalised* units prediction and target have first
been brought to (x - mean) / std with the model's target statistics, a channel at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pointcept_bsa.distributed.mesh import context_size
from pointcept_bsa.distributed.parts import joined, sum_over_parts
from pointcept_bsa.ops.segment_reduce.cloud_sum import cloud_sum

__all__ = [
    "CALIBRATION",
    "DISTRIBUTION_METRICS",
    "HIGHER_IS_BETTER",
    "METRICS",
    "VECTOR_METRICS",
    "angle",
    "base_metric",
    "cloud_mean",
    "coverage",
    "gaussian_nll",
    "higher_is_better",
    "mae",
    "magnitude_mae",
    "mse",
    "r2",
    "relative_l2",
    "rmse",
    "sparsification",
    "sparsification_error",
    "spread",
]


def cloud_mean(x: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over the points of each cloud: (N, ...) -> (B, ...). Of parts of clouds it is that of the whole clouds.

    Args:
        x: a value a point.
        offset: (B,) cumulative.
        valid: (N,) False for rows that are no points (of a padded batch) and do not count; at least one of each cloud
            is True. None: all count.
    """
    if valid is None and context_size() == 1:
        lengths = torch.diff(offset, prepend=offset.new_zeros(1))
        return cloud_sum(x, offset) / lengths.view(-1, *[1] * (x.dim() - 1))
    mask = (x.new_ones(len(x), dtype=torch.bool) if valid is None else valid).view(-1, *[1] * (x.dim() - 1))
    total, count = (sum_over_parts(cloud_sum(own, offset)) for own in (x.masked_fill(~mask, 0), mask.to(x.dtype)))
    return total / count


def mse(pred: Tensor, target: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over points and channels of (pred - target)^2. Unit: that of the target, squared."""
    return cloud_mean((pred - target).square().mean(1), offset, valid)


def rmse(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """Square root of :func:`mse`, per cloud. Unit: that of the target.

    The mean over clouds of this is not the root of the mean over clouds of the MSE; it is smaller or equal.
    """
    return mse(pred, target, offset).sqrt()


def mae(pred: Tensor, target: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over points and channels of |pred - target|. Unit: that of the target."""
    return cloud_mean((pred - target).abs().mean(1), offset, valid)


def relative_l2(pred: Tensor, target: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
    """|pred - target| / |target| with the Euclidean norm over all points and channels of the cloud. No unit.

    It changes with the zero of the target: physical and normalised values differ. A cloud whose target is zero
    everywhere has no relative error: inf (or nan for an exact prediction).
    """
    error = cloud_mean((pred - target).square().sum(1), offset, valid)
    return (error / cloud_mean(target.square().sum(1), offset, valid)).sqrt()


def r2(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """1 - sum (pred - target)^2 / sum (target - cloud mean)^2, over points and channels of the cloud. No unit.

    The mean is taken per channel. 1 is perfect, 0 as good as the cloud's own mean. A cloud whose target does not vary
    has none: -inf (or nan for an exact prediction).
    """
    lengths = torch.diff(offset, prepend=offset.new_zeros(1))
    mean = cloud_mean(target, offset).repeat_interleave(lengths, 0, output_size=target.shape[0])
    return 1 - mse(pred, target, offset) / mse(mean, target, offset)


def gaussian_nll(pred: Tensor, target: Tensor, offset: Tensor, variance: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over points and channels of -log N(target; pred, variance), with its constant (log 2 pi) / 2. Unit: nat.

    = ((target - pred)^2 / variance + log variance + log 2 pi) / 2, as ``torch.distributions.Normal`` has it (Erwin,
    molecular dynamics). The physical value is the normalised one plus the channels' mean of log std.

    Args:
        variance: (N, K), positive, in the unit of the target, squared.
        valid: see :func:`cloud_mean`.
    """
    nll = 0.5 * ((target - pred).square() / variance + variance.log() + math.log(2 * math.pi))
    return cloud_mean(nll.mean(1), offset, valid)


def coverage(pred: Tensor, target: Tensor, offset: Tensor, variance: Tensor, level: float) -> Tensor:
    """Share of the values, over points and channels, that lie in the central ``level`` interval of their normal
    distribution: |target - pred| <= z sqrt(variance), z = sqrt(2) erfinv(level). Calibrated it is ``level``. No unit.

    Args:
        variance: as :func:`gaussian_nll`.
        level: in (0, 1).
    """
    z = math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))
    within = (target - pred).square() <= z**2 * variance
    return cloud_mean(within.to(pred.dtype).mean(1), offset)


def spread(pred: Tensor, target: Tensor, offset: Tensor, variance: Tensor) -> Tensor:
    """Root of the mean variance over points and channels: that of :func:`mse` if calibrated. Unit: the target's."""
    return cloud_mean(variance.to(pred.dtype).mean(1), offset).sqrt()


def sparsification(pred: Tensor, target: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Two curves (N,) of one cloud: the error left when the k = 0 .. N - 1 points of largest variance are taken away.

    Root mean square over the points left, over that of all points; and the same where the points of largest error are
    taken away, the oracle (Ilg et al. 2018, arXiv 1802.07095). Errors and variances of a point are summed over its
    channels. Points of equal variance are taken away in the mean of all orders. A cloud without error has zeros. Of a
    part of a cloud they are those of the whole.
    """
    error, doubt = (target - pred).square().sum(1), variance.to(pred.dtype).sum(1)
    error, doubt = joined(torch.stack([error, doubt], 1), [len(error)]).unbind(1)
    doubt, order = doubt.sort()
    run, size = doubt.unique_consecutive(return_inverse=True, return_counts=True)[1:]
    mean = error.new_zeros(len(size)).index_add(0, run, error[order]) / size
    left = torch.arange(1, len(error) + 1, device=error.device)
    curves = [kept.cumsum(0) / left for kept in (mean[run], error.sort().values)]
    whole = error.mean()
    scaled = [(curve / whole.clamp_min(torch.finfo(error.dtype).tiny)).clamp_min(0).sqrt().flip(0) for curve in curves]
    return scaled[0], scaled[1]


def sparsification_error(pred: Tensor, target: Tensor, offset: Tensor, variance: Tensor) -> Tensor:
    """Area between the curves of :func:`sparsification` over the share of points taken away (AUSE). No unit.

    0: the variance orders points as their errors do, whatever its size.
    """
    lengths = torch.diff(offset, prepend=offset.new_zeros(1)).tolist()
    parts = zip(*(values.split(lengths) for values in (pred, target, variance)), strict=True)
    return torch.stack([(curve - oracle).mean() for curve, oracle in (sparsification(*part) for part in parts)])


def magnitude_mae(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """Mean over points of ||pred| - |target||, vectors (N, K): how wrong lengths are. Unit: that of the target."""
    return cloud_mean((pred.norm(dim=1) - target.norm(dim=1)).abs(), offset)


def angle(pred: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """Mean angle between predicted and true vectors (N, K), a point weighted by the length of its target. Degrees.

    So it needs no threshold where the field vanishes and has no direction. A predicted vector of length 0 is 90 degrees
    off. A cloud whose target is zero everywhere has none: nan.
    """
    length = target.norm(dim=1)
    cosine = (pred * target).sum(1) / (pred.norm(dim=1) * length).clamp_min(torch.finfo(target.dtype).tiny)
    angle = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))
    return cloud_mean(angle * length, offset) / cloud_mean(length, offset)


METRICS = {"mse": mse, "rmse": rmse, "mae": mae, "relative_l2": relative_l2, "r2": r2}
# Metrics of a predicted distribution; they take the variance (N, K) as well.
DISTRIBUTION_METRICS: dict[str, Callable[..., Tensor]] = {
    "nll": gaussian_nll,
    "coverage_68": partial(coverage, level=0.68),
    "coverage_95": partial(coverage, level=0.95),
    "spread": spread,
    "ause": sparsification_error,
}
# Metrics of vectors in space, which have two or three components of one unit.
VECTOR_METRICS = {"magnitude_mae": magnitude_mae, "angle": angle}
HIGHER_IS_BETTER = frozenset({"r2"})
# Neither the smaller nor the larger is the better one: a coverage has to be its level, a spread the size of the errors.
CALIBRATION = frozenset({"coverage_68", "coverage_95", "spread"})


def base_metric(name: str) -> str:
    """The metric of a name that says of which field it is, too: "mse" of "velocity/mse"."""
    return name.rpartition("/")[2]


def higher_is_better(name: str) -> bool:
    """Whether the larger value of a metric, of whatever field, is the better one."""
    return base_metric(name) in HIGHER_IS_BETTER
