"""Exact nearest neighbours by a Triton kernel that keeps the nearest so far in registers: no table of distances."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of

MAX_NEIGHBORS = 64
ROWS, KEYS = 16, 128  # queries of a program, and points it looks at together


@triton.jit
def _nearest(COORD, OUT, points, SPACE: tl.constexpr, COUNT: tl.constexpr, COUNT_UP: tl.constexpr, ROWS: tl.constexpr,
             KEYS: tl.constexpr):  # fmt: skip
    """OUT (points, COUNT_UP): squared distance (its bits) * 2^32 + index of the nearest points, in no order.

    Numbers so packed are all different and compare as the distances do, the lower index first. COUNT_UP - COUNT columns
    hold -1. A point nearer than the farthest kept takes its place, one a query and turn, until there is none.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = rows < points
    columns = tl.arange(0, COUNT_UP)
    none = tl.full([1], 0x7F800000, tl.int64) << 32
    best = tl.where(columns[None, :] < COUNT, none + columns[None, :] + tl.zeros([ROWS, COUNT_UP], tl.int64), -1)
    worst = tl.max(best, 1)
    for start in range(0, points, KEYS):
        keys = start + tl.arange(0, KEYS)
        inside = keys < points
        squared = tl.zeros([ROWS, KEYS], tl.float32)
        for axis in tl.static_range(SPACE):
            a = tl.load(COORD + rows.to(tl.int64) * SPACE + axis, mask=here, other=0.0)
            b = tl.load(COORD + keys.to(tl.int64) * SPACE + axis, mask=inside, other=0.0)
            difference = a[:, None] - b[None, :]
            squared += difference * difference
        packed = (squared.to(tl.int32, bitcast=True).to(tl.int64) << 32) + keys.to(tl.int64)[None, :]
        packed = tl.where(inside[None, :] & here[:, None], packed, none + COUNT_UP)
        lowest = tl.min(packed, 1)
        while tl.max((lowest < worst).to(tl.int32), 0) > 0:
            better = lowest < worst
            best = tl.where((best == worst[:, None]) & better[:, None], lowest[:, None], best)
            packed = tl.where(packed == lowest[:, None], none + COUNT_UP, packed)
            worst = tl.max(best, 1)
            lowest = tl.min(packed, 1)
    place = rows.to(tl.int64)[:, None] * COUNT_UP + columns[None, :]
    tl.store(OUT + place, best, mask=here[:, None])


def nearest_triton(cloud: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and distances (n, k) of the nearest points of a cloud (n, d) in float32, nearest first."""
    count = max(2, 1 << (k - 1).bit_length())
    cloud = cloud.contiguous()
    packed = torch.empty(len(cloud), count, dtype=torch.long, device=cloud.device)
    with on_device_of(cloud):
        _nearest[(-(-len(cloud) // ROWS),)](
            cloud, packed, len(cloud), SPACE=cloud.shape[1], COUNT=k, COUNT_UP=count, ROWS=ROWS, KEYS=KEYS
        )
    packed = packed.sort(1).values[:, count - k :]
    return packed & 0xFFFFFFFF, (packed >> 32).int().view(torch.float32).sqrt()
