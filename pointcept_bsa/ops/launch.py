"""What the launches of several kernels have in common."""

from __future__ import annotations

import torch
from torch import Tensor


def power_of_2(size: int, least: int = 1) -> int:
    """The smallest power of two that holds ``size``, at least ``least``."""
    return max(least, 1 << (size - 1).bit_length())


def precision() -> str:
    """How the kernels multiply float32: as ``torch.backends.cuda.matmul`` says."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def as_bytes(valid: Tensor | None) -> Tensor | None:
    """A mask as the kernels read it."""
    return None if valid is None else valid.contiguous().view(torch.uint8)


def rows_together(x: Tensor) -> Tensor:
    """The tensor itself where the numbers of its last axis lie side by side, else a copy in which they do."""
    return x if x.stride(-1) == 1 else x.contiguous()
