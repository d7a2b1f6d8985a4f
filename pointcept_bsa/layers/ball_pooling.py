"""Pooling and unpooling along a ball tree (Zhdanov et al. 2025, eq. 12 and 13).

``S`` slots in tree order, ``s`` the stride (slots that become one), ``C`` channels, ``d`` space dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pointcept_bsa.distributed.mesh import context_size
from pointcept_bsa.distributed.parts import sum_over_parts
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.geometry.host_tables import indices
from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.cloud_norm import CloudNorm
from pointcept_bsa.layers.linear import Linear


class BallPooling(nn.Module):
    """BatchNorm(W [features of the s children, their positions relative to their mean]); the identity for s = 1.

    With stride 1 it has no parameters. Empty slots enter as zeros and are left out of the statistics. In place of
    BatchNorm a model may have put another norm, see :func:`.replace_batch_norms`.
    """

    def __init__(self, in_dim: int, out_dim: int, stride: int, dimensionality: int = 3):
        super().__init__()
        check_counts(strides=stride)
        if stride == 1 and in_dim != out_dim:
            raise ValueError(f"channels: got {in_dim} then {out_dim} around a stride of 1, wanted the same")
        self.stride = stride
        if stride > 1:
            self.projection = Linear(stride * (in_dim + dimensionality), out_dim)
            self.norm = nn.BatchNorm1d(out_dim)

    def forward(self, x: Tensor, fine: BallLayout, coarse: BallLayout) -> Tensor:
        """(S, C) -> (S / s, C')."""
        if self.stride == 1:
            return x
        if fine.valid is not None:
            x = x * fine.valid.unsqueeze(1)
        children = x.view(coarse.coord.shape[0], -1)
        relative = child_position(fine, coarse)
        pooled = normalize_points(self.norm, self.projection(torch.cat([children, relative.to(x.dtype)], 1)), coarse)
        return pooled.to(x.dtype)  # under autocast the residual stays float32


class BallUnpooling(nn.Module):
    """BatchNorm(child + W [parent, positions of the s children relative to their mean])."""

    def __init__(self, in_dim: int, out_dim: int, stride: int, dimensionality: int = 3):
        super().__init__()
        check_counts(strides=stride)
        self.projection = Linear(in_dim + stride * dimensionality, stride * out_dim)
        self.norm = nn.BatchNorm1d(out_dim)

    def forward(self, x: Tensor, child: Tensor, fine: BallLayout, coarse: BallLayout) -> Tensor:
        """Parents (S / s, C') and children (S, C) as they were before pooling -> (S, C)."""
        refined = self.projection(torch.cat([x, child_position(fine, coarse).to(x.dtype)], 1)).view_as(child)
        return normalize_points(self.norm, child + refined, fine)


def child_position(fine: BallLayout, coarse: BallLayout) -> Tensor:
    """(S / s, s d) positions of the children of each slot relative to it, side by side; zero for empty ones."""
    parents, dims = coarse.coord.shape
    relative = fine.coord.view(parents, -1, dims) - coarse.coord.unsqueeze(1)
    if fine.valid is not None:
        relative = relative * fine.valid.view(parents, -1, 1)
    return relative.flatten(1)


def normalize_points(norm: nn.Module, x: Tensor, layout: BallLayout) -> Tensor:
    """A norm over the slots that hold points. The others never enter its statistics."""
    if isinstance(norm, CloudNorm):
        return norm(x, layout.slots, layout.valid)
    if not (norm.training and isinstance(norm, _BatchNorm)):
        return norm(x)
    if layout.is_part or (layout.valid is not None and layout.host_valid is None):
        return masked_batch_norm(norm, x, layout.valid)
    if layout.valid is None or layout.host_valid is None:
        return norm(x)
    real = indices(layout.host_valid, True, x.device)
    out = norm(x.index_select(0, real))
    return out.new_zeros(x.shape).index_copy(0, real, out)


def masked_batch_norm(norm: nn.Module, x: Tensor, valid: Tensor | None) -> Tensor:
    """BatchNorm in training over the rows (S, C) that are ``valid`` (S,), without counting them; the others get zero.

    Where processes share clouds it is over the rows of all of them.

    Raises:
        InputError: a norm that averages over processes.
    """
    if type(norm) is not nn.BatchNorm1d or norm.momentum is None:
        what = "context_parallel" if context_size() > 1 else "pad_clouds"
        raise InputError(f"{what}: got {type(norm).__name__}, wanted sync_bn=False with padded clouds or parts of them")
    weight = (x.new_ones(len(x), dtype=torch.bool) if valid is None else valid).unsqueeze(1)
    values = x.float() if x.itemsize < 4 else x
    count = sum_over_parts(weight.sum().to(values.dtype))
    mean = sum_over_parts(values.masked_fill(~weight, 0).sum(0)) / count
    centred = (values - mean) * weight
    variance = sum_over_parts(centred.square().sum(0)) / count
    if norm.track_running_stats:
        _keep_statistics(norm, mean, variance, count)
    out = centred * (variance + norm.eps).rsqrt() * norm.weight + norm.bias
    return (out * weight).to(x.dtype)


@torch.no_grad()
def _keep_statistics(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Let the running statistics follow those of ``count`` rows."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    unbiased = variance * (count / (count - 1).clamp(min=1))
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
