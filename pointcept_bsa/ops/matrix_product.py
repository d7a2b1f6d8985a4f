"""Tiles of matrices and their product, for Triton kernels of several operators."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def dot(a, b, PRECISION: tl.constexpr, UPCAST: tl.constexpr):
    """Matrix product in float32. UPCAST: Triton's interpreter multiplies the raw bits of 16-bit floats."""
    if UPCAST:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def matrix(W, row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Rows and columns of a contiguous matrix (ROWS, COLUMNS), zero outside."""
    inside = (row < ROWS)[:, None] & (column < COLUMNS)[None, :]
    return tl.load(W + row[:, None] * COLUMNS + column[None, :], mask=inside, other=0.0)
