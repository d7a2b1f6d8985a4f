"""Triton kernel of the column sum. A program adds up PARTS x ROWS rows of COLUMNS columns; no atomics."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def kernel(X, OUT, rows, C: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr):
    """OUT (programs, C): the sum of each program's rows."""
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for part in range(PARTS):
        row = (tl.program_id(0) * PARTS + part) * ROWS + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & (columns[None, :] < C)
        place = row.to(tl.int64)[:, None] * C + columns[None, :]
        total += tl.load(X + place, mask=inside, other=0.0).to(tl.float32)
    out = tl.sum(total, 0)
    tl.store(OUT + tl.program_id(0).to(tl.int64) * C + columns, out, mask=columns < C)
