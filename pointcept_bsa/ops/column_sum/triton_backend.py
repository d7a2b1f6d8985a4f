"""Launch of the column sum kernel, as a custom operator of torch: ``pcbsa::column_sum``."""

from __future__ import annotations

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of

MAX_COLUMNS = 128  # of a program
ELEMENTS = 4096  # that a program holds
PROGRAMS = 512  # at most, over the rows


def unsupported(x: Tensor) -> str | None:
    """What the kernel cannot do of a call, or None."""
    return "x: got no rows" if x.numel() == 0 else None


@torch.library.custom_op("pcbsa::column_sum", mutates_args=())
def _column_sum(x: Tensor) -> Tensor:
    from .kernels import kernel

    x = x.contiguous()
    channels = x.shape[-1]
    rows = x.numel() // channels
    columns = min(MAX_COLUMNS, 1 << (channels - 1).bit_length())
    height = ELEMENTS // columns
    tiles = -(-rows // height)
    parts = -(-tiles // PROGRAMS)
    programs = -(-tiles // parts)
    sums = torch.empty(programs, channels, dtype=torch.float32, device=x.device)
    with on_device_of(x):
        kernel[(programs, -(-channels // columns))](
            x, sums, rows, C=channels, COLUMNS=columns, ROWS=height, PARTS=parts
        )  # fmt: skip
    return sums.sum(0)


@_column_sum.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[-1], dtype=torch.float32)


def column_sum_triton(x: Tensor) -> Tensor:
    """As :func:`.column_sum`."""
    out: Tensor = _column_sum(x)
    return out
