"""Launch of the kernel that adds up gradients, as a custom operator of torch: ``pcbsa::sum_parts``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.launch import counters, power_of_2
from pointcept_bsa.ops.operator import operator

MAX_PARTS, MAX_USES = 4, 4
MAX_COLUMNS = 64  # of a program
ELEMENTS = 4096  # of a tile
PROGRAMS = 256  # at most over the rows, where these are summed up
AT_ONCE = 128  # of their sums that the last program takes


def unsupported(parts: Sequence[Sequence[Tensor]], shape: Sequence[int]) -> str | None:
    """What the kernel cannot do of a call, or None."""
    uses = [len(part) for part in parts]
    if len(parts) > MAX_PARTS or max(uses) > MAX_USES:
        return f"uses: got {uses}, wanted at most {MAX_USES} of at most {MAX_PARTS} parts"
    if 0 in shape:
        return f"x: got {tuple(shape)}, wanted rows"
    return None


def _as_rows(summands: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """Tensors whose rows hold their numbers side by side, and how far apart all their rows are; copies where needed."""
    rows = [t.flatten(1) for t in summands]
    strides = {t.stride(0) for t in rows}
    if len(strides) > 1 or any(t.stride(1) != 1 for t in rows):
        rows = [t.contiguous() for t in rows]
    return rows, rows[0].stride(0) if rows else 1


@operator("pcbsa::sum_parts")
def _sum_parts(
    summands: list[Tensor], uses: list[int], widths: list[int], shape: list[int], dtype: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """The sums, and their column sums in ``dtype`` (None: empty)."""
    from .kernels import sum_kernel

    out, bias = _empty(summands, widths, shape, dtype)
    tensors = iter(summands)
    parts = [_as_rows([next(tensors) for _ in range(times)]) for times in uses]
    parts += [([], 1)] * (MAX_PARTS - len(parts))
    columns = min(MAX_COLUMNS, power_of_2(max(widths)))
    height = ELEMENTS // columns
    tiles = -(-shape[0] // height)
    each = 1 if dtype is None else -(-tiles // PROGRAMS)
    grid = -(-tiles // each), sum(-(-width // columns) for width in widths)
    sums = None if dtype is None else torch.empty(grid[0], grid[1] * columns, dtype=torch.float32, device=out.device)
    constants = {f"COUNT{part}": len(tensors) for part, (tensors, _) in enumerate(parts)}
    constants |= {f"STRIDE{part}": stride for part, (_, stride) in enumerate(parts)}
    constants |= {f"WIDTH{part}": width for part, width in enumerate([*widths, 0, 0, 0][:MAX_PARTS])}
    with on_device_of(out):
        sum_kernel[grid](
            *(t for tensors, _ in parts for t in [*tensors, *[None] * (MAX_USES - len(tensors))]), out, sums,
            None if dtype is None else counters(out, grid[1]), None if dtype is None else bias, shape[0], each,
            ROWS=height, COLUMNS=columns, SUM=dtype is not None, AT_ONCE=min(AT_ONCE, power_of_2(grid[0])),
            num_warps=8, **constants,
        )  # fmt: skip
    return out, bias


def _empty(
    summands: list[Tensor], widths: list[int], shape: list[int], dtype: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    out = summands[0].new_empty(shape)
    return out, out.new_empty(0 if dtype is None else sum(widths), dtype=dtype or out.dtype)


@_sum_parts.register_fake
def _(
    summands: list[Tensor], uses: list[int], widths: list[int], shape: list[int], dtype: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    return _empty(summands, widths, shape, dtype)


def sum_parts_triton(
    parts: Sequence[Sequence[Tensor]], widths: Sequence[int], shape: Sequence[int], dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """For each part the sum of its tensors (S, width), zero where there are none, side by side in ``shape`` (S, ...);
    and the sums of all that over the rows in ``dtype``, empty for None. The first are rounded before."""
    out: tuple[Tensor, Tensor] = _sum_parts(
        [t for part in parts for t in part], [len(part) for part in parts], list(widths), list(shape), dtype
    )
    return out
