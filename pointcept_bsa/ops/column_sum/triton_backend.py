"""Launch of the column sum kernel, as a custom operator of torch: ``pcbsa::column_sum``."""

from __future__ import annotations

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.launch import counters, power_of_2
from pointcept_bsa.ops.operator import operator

MAX_COLUMNS = 128  # of a program
ELEMENTS = 4096  # that a program holds
PROGRAMS = 256  # at most, over the rows


def unsupported(x: Tensor) -> str | None:
    """What the kernel cannot do of a call, or None."""
    return "x: got no rows" if x.numel() == 0 else None


@operator("pcbsa::column_sum")
def _column_sum(x: Tensor, dtype: torch.dtype) -> Tensor:
    return sum_columns(x, dtype)


@_column_sum.register_fake
def _(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.new_empty(x.shape[-1], dtype=dtype)


def sum_columns(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The launch itself, for use within other operators."""
    from .kernels import kernel

    x = x.contiguous()
    channels = x.shape[-1]
    rows = x.numel() // channels
    columns = min(MAX_COLUMNS, power_of_2(channels))
    height = ELEMENTS // columns
    tiles = -(-rows // height)
    # More rows make programs longer, not more: the last one adds up at most PROGRAMS sums.
    parts = -(-tiles // PROGRAMS)
    grid = -(-tiles // parts), -(-channels // columns)
    sums = torch.empty(grid[0], channels, dtype=torch.float32, device=x.device)
    out = torch.empty(channels, dtype=dtype, device=x.device)
    with on_device_of(x):
        kernel[grid](
            x, sums, counters(x, grid[1]), out, rows, C=channels, COLUMNS=columns, ROWS=height, PARTS=parts
        )  # fmt: skip
    return out


def column_sum_triton(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """As :func:`.column_sum`."""
    out: Tensor = _column_sum(x, dtype)
    return out
