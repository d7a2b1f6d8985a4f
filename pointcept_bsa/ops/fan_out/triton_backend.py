"""Launch of the kernel that adds up gradients, as a custom operator of torch: ``pcbsa::sum_parts``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of

SIZE = 2048  # elements of a program
MAX_PARTS, MAX_USES = 3, 4


def unsupported(parts: Sequence[Sequence[Tensor]]) -> str | None:
    """What the kernel cannot do of a call, or None."""
    uses = [len(part) for part in parts]
    if len(parts) > MAX_PARTS or max(uses) > MAX_USES:
        return f"uses: got {uses}, wanted at most {MAX_USES} of at most {MAX_PARTS} parts"
    return None


@torch.library.custom_op("pcbsa::sum_parts", mutates_args=())
def _sum_parts(summands: list[Tensor], uses: list[int], shape: list[int]) -> Tensor:
    from .kernels import sum_kernel

    out = summands[0].new_empty(shape)
    size, channels = shape[0] * math.prod(shape[2:]), math.prod(shape[2:])
    tensors = iter(t.contiguous() for t in summands)
    table = [[next(tensors) for _ in range(n)] + [None] * (MAX_USES - n) for n in uses]
    table += [[None] * MAX_USES] * (MAX_PARTS - len(uses))
    counts = {f"COUNT{part}": n for part, n in enumerate([*uses, 0, 0][:MAX_PARTS])}
    with on_device_of(out):
        sum_kernel[(-(-size // SIZE), len(uses))](
            *(t for part in table for t in part), out, size, channels, PARTS=len(uses), SIZE=SIZE, **counts
        )  # fmt: skip
    return out


@_sum_parts.register_fake
def _(summands: list[Tensor], uses: list[int], shape: list[int]) -> Tensor:
    return summands[0].new_empty(shape)


def sum_parts_triton(parts: Sequence[Sequence[Tensor]], shape: Sequence[int]) -> Tensor:
    """(S, P, H, D): for each part the sum of its tensors (S, H, D), zero where there are none."""
    out: Tensor = _sum_parts([t for part in parts for t in part], [len(part) for part in parts], list(shape))
    return out
