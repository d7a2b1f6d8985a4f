"""The block of Point Transformer V3: convolution for position, patch attention, MLP (Wu et al. 2024, fig. 5).

Legend: ``N`` points, ``C`` channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.layers.patch_attention import PatchAttention, check_drop
from pointcept_bsa.layers.serialized_level import SerializedLevel
from pointcept_bsa.layers.submanifold_conv import SubmanifoldConv


class PositionConv(nn.Sequential):
    """xCPE, the enhanced conditional positional encoding: 3^3 submanifold convolution, linear map, normalisation."""

    def __init__(self, channels: int, norm_layer: Callable[[int], nn.Module], backend: str | None = None) -> None:
        conv = SubmanifoldConv(channels, channels, kernel_size=3, backend=backend)
        super().__init__(conv, nn.Linear(channels, channels), norm_layer(channels))

    def forward(self, feat: Tensor, level: SerializedLevel) -> Tensor:  # type: ignore[override]
        conv, linear, norm = self
        return norm(linear(conv(feat, level.voxels)))


class PointwiseMLP(nn.Module):
    """Linear, activation, dropout, Linear, dropout."""

    def __init__(self, channels: int, hidden_channels: int, act_layer: Callable[[], nn.Module], drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_channels, channels)
        self.drop = nn.Dropout(drop)

    def forward(self, feat: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(feat)))))


class RowDropPath(nn.Module):
    """Stochastic depth: in training each row is dropped with probability ``p``, the others divided by ``1 - p``.

    Pointcept takes this from timm, which acts on the first axis as well: there, points. Written here because timm
    imports torchvision, which must match the torch build exactly and often is missing beside a CPU build.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        check_drop(drop_path=p)
        self.p = p

    def forward(self, feat: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return feat
        keep = 1.0 - self.p
        kept = torch.rand(len(feat), 1, device=feat.device) < keep
        return feat * (kept.to(feat.dtype) / max(keep, 1e-12))


class PatchAttentionBlock(nn.Module):
    """``x += xCPE(x)``, ``x += Attention(norm x)``, ``x += MLP(norm x)``.

    With ``pre_norm=False`` each of the two norms follows its sum instead.

    ``attention`` holds further arguments of ``PatchAttention``.

    Raises:
        ValueError: arguments that are out of range, or do not fit together.
    """

    shard_unit = True  # what a host that shards parameters over processes shards as one

    def __init__(
        self,
        channels: int,
        num_heads: int,
        patch_size: int,
        mlp_ratio: float = 4.0,
        proj_drop: float = 0.0,
        drop_path: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        pre_norm: bool = True,
        conv_backend: str | None = None,
        **attention: Any,
    ) -> None:
        super().__init__()
        hidden_channels = int(channels * mlp_ratio)
        if hidden_channels < 1:
            raise InputError(f"mlp_ratio: got {mlp_ratio} for {channels} channels, wanted at least one hidden channel")
        self.pre_norm = pre_norm
        self.cpe = PositionConv(channels, norm_layer, conv_backend)
        self.norm1 = nn.Sequential(norm_layer(channels))
        self.attn = PatchAttention(channels, num_heads, patch_size, proj_drop=proj_drop, **attention)
        self.norm2 = nn.Sequential(norm_layer(channels))
        self.mlp = nn.Sequential(PointwiseMLP(channels, hidden_channels, act_layer, proj_drop))
        self.drop_path = RowDropPath(drop_path)

    def forward(self, feat: Tensor, level: SerializedLevel, position_input: Tensor | None = None) -> Tensor:
        """``feat (N, C)`` to ``(N, C)``; ``position_input`` is what the convolution reads instead of ``feat``."""
        feat = feat + self.cpe(feat if position_input is None else position_input, level)
        if self.pre_norm:
            feat = feat + self.drop_path(self.attn(self.norm1(feat), level))
            return feat + self.drop_path(self.mlp(self.norm2(feat)))
        feat = self.norm1(feat + self.drop_path(self.attn(feat, level)))
        return self.norm2(feat + self.drop_path(self.mlp(feat)))
