"""The submanifold convolution with its parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.ops.submanifold_conv import VoxelIndex, check_backend, check_kernel_size, submanifold_conv


class SubmanifoldConv(nn.Module):
    """Cubic submanifold convolution of points, see ``ops.submanifold_conv``.

    Parameters have the names, shapes and initialisation of spconv's ``SubMConv3d`` (version 2): ``weight``
    ``(out_channels, K, K, K, in_channels)`` and ``bias (out_channels,)``, both drawn uniformly within
    ``1 / sqrt(K**3 * in_channels)``.

    Args:
        in_channels, out_channels: channels.
        kernel_size: odd edge length ``K``, up to 9.
        bias: add a bias.
        backend: which code runs; None leaves it to ``PCBSA_SUBM_CONV``.

    Raises:
        ValueError: arguments out of range.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, bias: bool = True, backend: str | None = None
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels)
        check_kernel_size(kernel_size)
        if backend is not None:
            check_backend(backend)
        bound = 1 / math.sqrt(kernel_size**3 * in_channels)
        shape = (out_channels, kernel_size, kernel_size, kernel_size, in_channels)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound)) if bias else None
        self.backend = backend

    def forward(self, feat: Tensor, index: VoxelIndex) -> Tensor:
        """``feat (N, in_channels)`` of the points of ``index`` to ``(N, out_channels)``."""
        return submanifold_conv(feat, self.weight, self.bias, index, self.backend)

    def extra_repr(self) -> str:
        out_channels, kernel_size, in_channels = self.weight.shape[0], self.weight.shape[1], self.weight.shape[4]
        return f"{in_channels}, {out_channels}, kernel_size={kernel_size}, bias={self.bias is not None}"
