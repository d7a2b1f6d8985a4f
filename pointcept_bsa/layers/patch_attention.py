"""Attention inside patches of consecutive points of a space-filling curve (Wu et al. 2024, PTv3, sec. 4.2).

Legend: ``N`` points, ``K`` patch size, ``P`` patches, ``H`` heads, ``D`` head dim, ``C = H * D`` channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pointcept_bsa.errors import InputError
from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.serialized_level import SerializedLevel

PATCHES_AT_ONCE = 32768  # CUDA attention kernels put the batch in a grid axis of at most 65,535


def check_drop(**rates: float) -> None:
    """Raise InputError unless all of them are probabilities."""
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise InputError(f"{name}: got {rate!r}, wanted a number from 0 to 1")


class RelativePositionTable(nn.Module):
    """A learnt bias for each head and each clamped offset in grid cells along x, y and z, summed over the axes.

    ``rpe_table (3 * (2 * bound + 1), H)`` holds the rows of x, then y, then z, each from ``-bound`` to ``bound``;
    ``bound`` is ``int(2 * (4 * patch_size) ** (1/3))`` of floating-point numbers, as in the public code: 31, not 32,
    for 1024, whose cube root comes out a little below 16.
    """

    def __init__(self, patch_size: int, num_heads: int) -> None:
        super().__init__()
        self.bound = int((4 * patch_size) ** (1 / 3) * 2)
        self.rpe_table = nn.Parameter(torch.empty(3 * (2 * self.bound + 1), num_heads))
        nn.init.trunc_normal_(self.rpe_table, std=0.02)

    def forward(self, relative_cells: Tensor) -> Tensor:
        """``(P, K, K, 3)`` integer offsets to the bias ``(P, H, K, K)``."""
        row = relative_cells.long().clamp(-self.bound, self.bound) + self.bound
        per_axis = self.rpe_table.view(3, 2 * self.bound + 1, -1)
        bias = per_axis[0][row[..., 0]] + per_axis[1][row[..., 1]] + per_axis[2][row[..., 2]]
        return bias.permute(0, 3, 1, 2)


class PatchAttention(nn.Module):
    """Multi-head attention of each point to the points of its patch.

    Runs on ``scaled_dot_product_attention``; flash-attn is never needed. ``enable_flash`` keeps its meaning for the
    patches: with it a cloud smaller than ``patch_size`` is a patch of its own size, as flash-attn's variable lengths
    allow; without it the patch size of the whole batch shrinks to its smallest cloud, as in Pointcept, so that a
    cloud's result may depend on the clouds beside it.

    Args:
        channels, num_heads: ``C`` and ``H``.
        patch_size: ``K``.
        qkv_bias: bias in the query, key and value projection.
        qk_scale: factor on the scores, default ``D ** -0.5``.
        attn_drop, proj_drop: dropout of attention weights and of the output, from 0 to 1.
        order_index: which order of the level this layer walks.
        enable_rpe: add ``RelativePositionTable``.
        enable_flash: patches as with flash-attn; forbids the three options below it, as in Pointcept.
        upcast_attention, upcast_softmax: compute the attention in float32 or better, whatever the autocast dtype.

    Raises:
        ValueError: arguments that are out of range, or do not fit together.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        patch_size: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        order_index: int = 0,
        enable_rpe: bool = False,
        enable_flash: bool = True,
        upcast_attention: bool = False,
        upcast_softmax: bool = False,
    ) -> None:
        super().__init__()
        check_counts(num_heads=num_heads, patch_size=patch_size)
        check_drop(attn_drop=attn_drop, proj_drop=proj_drop)
        if channels % num_heads:
            raise InputError(f"num_heads: got {num_heads} for {channels} channels, wanted a divisor of the channels")
        if enable_flash and (enable_rpe or upcast_attention or upcast_softmax):
            raise InputError(
                "enable_flash: got True together with enable_rpe, upcast_attention or upcast_softmax; "
                "wanted enable_flash=False with these"
            )
        self.num_heads = num_heads
        self.patch_size = patch_size
        self.scale = (channels // num_heads) ** -0.5 if qk_scale is None else qk_scale
        self.attn_drop = attn_drop
        self.order_index = order_index
        self.enable_flash = enable_flash
        self.upcast = upcast_attention or upcast_softmax
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.proj_drop = nn.Dropout(proj_drop)
        self.rpe = RelativePositionTable(patch_size, num_heads) if enable_rpe else None

    def forward(self, feat: Tensor, level: SerializedLevel) -> Tensor:
        """``feat (N, C)`` to ``(N, C)``, both in the order of the level's points."""
        patch_size = self.patch_size
        if not self.enable_flash:
            patch_size = min(patch_size, *level.cloud_sizes)
        layout = level.patches(patch_size)
        order, inverse = level.order[self.order_index], level.inverse[self.order_index]
        bias = None if self.rpe is None else self.rpe(level.relative_cells(self.order_index, patch_size))

        qkv = self.qkv(feat)
        out = self._attend(qkv[order[layout.full]], bias).flatten(0, 1)
        if layout.short is not None and layout.short_mask is not None:
            mask = layout.short_mask[:, None, None, :]
            out = torch.cat([out, self._attend(qkv[order[layout.short]], mask).flatten(0, 1)])
        return self.proj_drop(self.proj(out[layout.slot[inverse]]))

    def _attend(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        """``qkv (P, K, 3C)`` to ``(P, K, C)``; ``mask`` is a boolean mask or an additive bias on the scores."""
        if len(qkv) == 0:  # scaled_dot_product_attention on CUDA has no answer for an empty batch
            return qkv[..., : qkv.shape[-1] // 3]
        if len(qkv) > PATCHES_AT_ONCE:
            masks = [None] * len(qkv) if mask is None else mask.split(PATCHES_AT_ONCE)
            return torch.cat([self._attend(*part) for part in zip(qkv.split(PATCHES_AT_ONCE), masks, strict=False)])
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # each (P, H, K, D)
        if self.upcast:
            q, k, v = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v))
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(q.dtype)
        dropout = self.attn_drop if self.training else 0.0
        with torch.autocast(q.device.type, enabled=torch.is_autocast_enabled(q.device.type) and not self.upcast):
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=self.scale)
        return out.transpose(1, 2).flatten(2).to(qkv.dtype)
