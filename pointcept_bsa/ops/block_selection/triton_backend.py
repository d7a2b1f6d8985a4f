"""Block selection by the Triton kernels, as the custom op ``pcbsa::select_blocks``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import interpreted, kept_for_graphs, on_device_of
from pointcept_bsa.ops.launch import contiguous_rows, power_of_2
from pointcept_bsa.ops.operator import operator

MAX_TOPK, MAX_HEAD_DIM = 64, 256

# Tile parameters: stretch T and rows a program of the first pass, its warps and stages; elements (rows x K x T) a warp
# of the second. Long stretches need fewer insertions in the first pass and more keys to score again in the second; so
# do many blocks to select. Measured on an H200 with 512 to 8,192 coarse keys, 4 and 16 blocks to select.
TILES: dict[tuple[str, str], dict[str, int]] = {
    ("few", "short"): dict(stretch=16, rows=32, warps=2, stages=3, rescan=256),  # at most SHORT coarse keys a cloud
    ("few", "long"): dict(stretch=64, rows=128, warps=4, stages=3, rescan=512),
    ("many", "short"): dict(stretch=8, rows=16, warps=2, stages=3, rescan=256),  # from MANY blocks to select on
    ("many", "long"): dict(stretch=8, rows=64, warps=2, stages=3, rescan=256),
}
MANY = 9
SHORT = {"few": 2048, "many": 512}


def tile_of(topk: int, longest: int) -> dict[str, int]:
    """The tile for ``topk`` of at most ``longest`` coarse keys a cloud."""
    number = "many" if topk >= MANY else "few"
    return TILES[number, "short" if longest <= SHORT[number] else "long"]


def unsupported(q: Tensor, k: Tensor, topk: int) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if k.dtype != q.dtype:
        return f"k: got {k.dtype}, wanted {q.dtype} as q"
    if q.shape[-1] > MAX_HEAD_DIM:
        return f"head dim: got {q.shape[-1]}, wanted at most {MAX_HEAD_DIM}"
    if topk > MAX_TOPK:
        return f"topk: got {topk}, wanted at most {MAX_TOPK}"
    if q.shape[0] == 0 or k.shape[0] == 0:
        return f"got {q.shape[0]} groups and {k.shape[0]} blocks, wanted at least one of each"
    return None


@operator("pcbsa::select_blocks")
def select_blocks_op(
    q: Tensor,
    k: Tensor,
    groups: list[int],
    blocks: list[int],
    topk: int,
    balls: list[int] | None,
    block_valid: Tensor | None,
    own: Tensor | None,
) -> Tensor:
    """See the reference for what it computes. Equal scores: the lower index first."""
    from .kernels import best_in_stretches, best_stretches

    num_groups, heads, dim = q.shape
    tile = tile_of(topk, max(blocks))
    rows, stretch, keep = tile["rows"], tile["stretch"], power_of_2(topk)
    q, k = (contiguous_rows(t) for t in (q, k))
    best = q.new_empty((num_groups, heads, keep), dtype=torch.int32)
    selected = q.new_empty((num_groups, heads, topk), dtype=torch.int64)
    num_tiles, where = _tiles(tuple(groups), tuple(blocks), None if balls is None else tuple(balls), rows, q.device)
    if isinstance(where[0], Tensor):
        kept_for_graphs(where[0])
    common: dict[str, Any] = dict(
        Q_ROW=q.stride(0),
        Q_HEAD=q.stride(1),
        K_ROW=k.stride(0),
        K_HEAD=k.stride(1),
        H=heads,
        D=dim,
        STRETCH=stretch,
        KEEP=keep,
        RAGGED=isinstance(where[0], Tensor),
        HAS_VALID=block_valid is not None,
        SKIP_OWN=balls is not None,
        HAS_OWN=own is not None,
    )
    warps, rows_again = rescan_shape(keep * stretch, tile["rescan"])
    if interpreted():  # which takes long to start a program
        rows_again = rows
    part = min(16, power_of_2(dim))
    with on_device_of(q):
        best_stretches[(num_tiles, heads)](
            q,
            k,
            block_valid,
            own,
            best,
            *where,
            DIM=max(16, power_of_2(dim)),
            ROWS=rows,
            UPCAST=interpreted(),
            num_warps=tile["warps"],
            num_stages=tile["stages"],
            **common,
        )
        best_in_stretches[(num_tiles * (rows // rows_again), heads)](
            q,
            k,
            block_valid,
            own,
            best,
            selected,
            *where,
            DIM=-(-dim // part) * part,
            PART=part,
            TILE=rows,
            ROWS=rows_again,
            TOPK=topk,
            num_warps=warps,
            **common,
        )
    return selected


@select_blocks_op.register_fake
def _(q, k, groups, blocks, topk, balls, block_valid, own):
    return q.new_empty((q.shape[0], q.shape[1], topk), dtype=torch.int64)


@register_flop_formula(torch.ops.pcbsa.select_blocks)
def _flops(q, k, groups, blocks, *args, **kwargs) -> int:
    """Every group of a cloud against every block of it; the few scores computed twice are not counted."""
    return sum(2 * g * b for g, b in zip(groups, blocks)) * q[1] * q[2]


def rescan_shape(keys_a_row: int, keys_a_warp: int) -> tuple[int, int]:
    """Warps, and rows a program, of the second pass."""
    warps = min(8, max(1, keys_a_row // keys_a_warp))
    return warps, max(1, keys_a_warp * warps // keys_a_row)


@lru_cache(maxsize=64)
def _tiles(
    groups: tuple[int, ...], blocks: tuple[int, ...], balls: tuple[int, ...] | None, rows: int, device: torch.device
) -> tuple[int, tuple[Any, int, int, int]]:
    """Number of tiles of rows, and how the kernels find theirs (see ``cloud_of_tile``).

    Unequal clouds need a table on the device. It is copied there when these sizes are seen first, which a CUDA graph
    cannot capture: run the sizes once before.
    """
    counts = [-(-g // rows) for g in groups]
    balls = balls or (1,) * len(groups)
    if len({*zip(groups, blocks, balls)}) == 1:
        return sum(counts), (balls[0], counts[0], groups[0], blocks[0])
    table, start, key = [], 0, 0
    for count, num_groups, num_blocks, num_balls in zip(counts, groups, blocks, balls):
        end = start + num_groups
        table += [[start + i * rows, start, end, key, num_blocks, num_balls] for i in range(count)]
        start, key = end, key + num_blocks
    return sum(counts), (torch.tensor(table, dtype=torch.int32, device=device), 0, 0, 0)
