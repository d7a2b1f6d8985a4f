"""PointNet: points that know of each other through the maximum over the cloud alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.linear import Linear


def shared_mlp(*widths: int) -> nn.Sequential:
    """ReLU(LayerNorm(linear)) from each width to the next, the same for every point."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [Linear(before, after), nn.LayerNorm(after), nn.ReLU()]
    return nn.Sequential(*layers)


def cloud_max(x: Tensor, lengths: tuple[int, ...], valid: Tensor | None = None) -> Tensor:
    """Maximum over the points of each cloud, those that are ``valid`` (N,): (N, C) -> (B, C).

    Cloud by cloud: the gradient of ``segment_reduce`` takes one thread a cloud and channel, ten times as long.
    """
    if valid is not None:
        x = x.masked_fill(~valid.unsqueeze(1), -torch.inf)
    return torch.stack([cloud.amax(0) for cloud in x.split(lengths)])


@MODELS.register_module("PointNet-v1m1")
class PointNet(Backbone):
    """PointNet (Qi et al. 2017, arXiv 1612.00593, fig. 2), the form for segmentation.

    l = MLP(feat) at each point, g = max over the cloud of MLP(l), MLP([l, g]) at each point. The first layer behind the
    maximum is W_l l + W_g g, its second product once a cloud and not once a point.

    Unlike the paper: LayerNorm over the channels of a point in place of BatchNorm. Batches here are one to a few
    clouds, too few for BatchNorm; and the statistics of a single cloud, which replace it in other networks, would take
    away everything that is constant over the cloud, W_g g. No networks that turn the input and the features (T-nets):
    flow has a direction. The coordinates come in through ``feat`` alone. The last layer of the paper is the head's.

    Args:
        in_channels: channels of ``feat``.
        point_channels: widths of the MLP that makes l.
        cloud_channels: widths of the MLP before the maximum.
        channels: widths of the MLP behind it, the last of them ``out_channels``.
        dimensionality: space dimensions of ``coord``.

    Raises:
        ValueError: no widths, or one below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        point_channels: Sequence[int] = (64, 64),
        cloud_channels: Sequence[int] = (64, 128, 1024),
        channels: Sequence[int] = (512, 256, 128),
        dimensionality: int = 3,
    ):
        for name, widths in dict(
            point_channels=point_channels, cloud_channels=cloud_channels, channels=channels
        ).items():
            if isinstance(widths, int) or not widths or min(widths) < 1:
                raise ValueError(f"{name}: got {widths!r}, wanted at least one width, each at least 1")
        super().__init__(in_channels, channels[-1], dimensionality)
        self.point_mlp = shared_mlp(in_channels, *point_channels)
        self.cloud_mlp = shared_mlp(point_channels[-1], *cloud_channels)
        self.of_point = Linear(point_channels[-1], channels[0])
        self.of_cloud = Linear(cloud_channels[-1], channels[0], bias=False)
        self.joined = nn.Sequential(nn.LayerNorm(channels[0]), nn.ReLU(), *shared_mlp(*channels))

    def padding(self, unit: int) -> CloudPadding:
        return CloudPadding(unit)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        valid = point[VALID] if VALID in point else None
        local = self.point_mlp(point.feat)
        whole = self.of_cloud(cloud_max(self.cloud_mlp(local), lengths, valid))
        counts = torch.diff(point.offset, prepend=point.offset.new_zeros(1))
        return self.joined(self.of_point(local) + whole.repeat_interleave(counts, 0, output_size=len(local)))
