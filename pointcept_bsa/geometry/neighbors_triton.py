"""Exact nearest neighbours by Triton kernels that keep the nearest so far in registers: no table of distances.

``N`` points of all clouds, ``k`` neighbours a point. Small clouds compare every point with every other one; larger
ones leave out what lies too far away, see :mod:`.neighbors_pruned_triton`. Both give the same.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import math

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.geometry.host_tables import on_device
from pointcept_bsa.geometry.neighbors_pruned_triton import ENTRIES, block_table, nearest_pruned

MAX_NEIGHBORS = 64
PRUNE_FROM = 2048  # points of the largest cloud from which sorting the points first is worth it
ROWS, KEYS = 16, 128  # queries of a program, and points it looks at together


@triton.jit(do_not_specialize=["farthest"])
def _nearest(COORD, TABLE, OUT, farthest, SPACE: tl.constexpr, COUNT: tl.constexpr, COUNT_UP: tl.constexpr,
             ROWS: tl.constexpr, KEYS: tl.constexpr):  # fmt: skip
    """OUT (N, COUNT_UP): squared distance (its bits) * 2^32 + index of the nearest points, in no order.

    Numbers so packed are all different and compare as the distances do, the lower index first. COUNT_UP - COUNT columns
    hold -1. A point nearer than the farthest kept takes its place, one a query and turn, until there is none. Where
    there are fewer than COUNT, what is left has an index of 2^31 and above.
    """
    block = tl.program_id(0)
    first = tl.load(TABLE + block * ENTRIES)
    end = tl.load(TABLE + block * ENTRIES + 1)
    cloud = first - (block - tl.load(TABLE + block * ENTRIES + 2)) * ROWS
    rows = first + tl.arange(0, ROWS)
    here = rows < end
    columns = tl.arange(0, COUNT_UP)
    none = (tl.full([1], 0, tl.int64) + farthest << 32) + 0x80000000
    never = tl.full([1], 0x7FFFFFFF, tl.int64) << 32
    best = tl.where(columns[None, :] < COUNT, none + columns[None, :] + tl.zeros([ROWS, COUNT_UP], tl.int64), -1)
    worst = tl.max(best, 1)
    for start in range(cloud, end, KEYS):
        keys = start + tl.arange(0, KEYS)
        inside = keys < end
        squared = tl.zeros([ROWS, KEYS], tl.float32)
        for axis in tl.static_range(SPACE):
            a = tl.load(COORD + rows.to(tl.int64) * SPACE + axis, mask=here, other=0.0)
            b = tl.load(COORD + keys.to(tl.int64) * SPACE + axis, mask=inside, other=0.0)
            difference = a[:, None] - b[None, :]
            squared += difference * difference
        # Floats from 0 on compare as their bits do.
        packed = (squared.to(tl.int32, bitcast=True).to(tl.int64) << 32) + keys.to(tl.int64)[None, :]
        packed = tl.where(inside[None, :] & here[:, None], packed, never)
        lowest = tl.min(packed, 1)
        while tl.max((lowest < worst).to(tl.int32), 0) > 0:
            better = lowest < worst
            best = tl.where((best == worst[:, None]) & better[:, None], lowest[:, None], best)
            packed = tl.where(packed == lowest[:, None], never, packed)
            worst = tl.max(best, 1)
            lowest = tl.min(packed, 1)
    place = rows.to(tl.int64)[:, None] * COUNT_UP + columns[None, :]
    tl.store(OUT + place, best, mask=here[:, None])


def nearest_triton(coord: Tensor, lengths: tuple[int, ...], k: int, limit: float = math.inf) -> tuple[Tensor, Tensor]:
    """Indices and distances (N, k) of the nearest points of the own cloud, the nearest first.

    Args:
        coord: (N, d) float32.
        lengths: points of each cloud.
        k: at most ``MAX_NEIGHBORS``.
        limit: points farther away may be left out, and most are. Who wants none of them looks at the distances.

    Returns:
        Of points at the same distance the one with the lower index comes first. Where there are fewer than ``k`` the
        index is -1 and the distance means nothing.
    """
    count = max(2, 1 << (k - 1).bit_length())
    coord = coord.contiguous()
    packed = torch.empty(len(coord), count, dtype=torch.long, device=coord.device)
    search = nearest_pruned if max(lengths) >= PRUNE_FROM else _nearest_of_all
    with on_device_of(coord):
        search(coord, lengths, packed, k, _farthest(limit))
    packed = packed.sort(1).values[:, count - k :]
    index = packed & 0xFFFFFFFF
    return index.masked_fill(index >= 2**31, -1), (packed >> 32).int().view(torch.float32).sqrt()


def _nearest_of_all(coord: Tensor, lengths: tuple[int, ...], packed: Tensor, k: int, farthest: int) -> None:
    """Fill ``packed`` by comparing every point of a cloud with every other one."""
    table = block_table(lengths, ROWS)
    _nearest[(len(table),)](
        coord, on_device(table, coord.device), packed, farthest,
        SPACE=coord.shape[1], COUNT=k, COUNT_UP=packed.shape[1], ROWS=ROWS, KEYS=KEYS,
    )  # fmt: skip


def _farthest(limit: float) -> int:
    """Bits of a float32 that no squared distance within ``limit`` exceeds, whatever way it was rounded."""
    squared = limit * limit * (1 + 1e-5) + 1e-37
    bound = np.float32(squared if squared < np.finfo(np.float32).max else np.inf)
    return int(bound.view(np.int32))
