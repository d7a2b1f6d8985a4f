"""Triton kernel of the column sum. A program adds up PARTS x ROWS rows of COLUMNS columns, the last one all of theirs;
no other atomics than the counting of programs."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.launch import is_last, sum_of_parts


@triton.jit
def kernel(X, SUMS, COUNTERS, OUT, rows, C: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
           PARTS: tl.constexpr):  # fmt: skip
    """OUT (C,); SUMS (programs, C) in passing: the sum of each program's rows."""
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for part in range(PARTS):
        row = (tl.program_id(0) * PARTS + part) * ROWS + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & (columns[None, :] < C)
        place = row.to(tl.int64)[:, None] * C + columns[None, :]
        total += tl.load(X + place, mask=inside, other=0.0).to(tl.float32)
    out = tl.sum(total, 0)
    programs = tl.num_programs(0)
    tl.store(SUMS + tl.program_id(0).to(tl.int64) * C + columns, out, mask=columns < C)
    # A counter for each block of columns: the last program of that block goes on.
    if is_last(COUNTERS + tl.program_id(1), programs):
        out = sum_of_parts(SUMS, programs, C, columns, columns < C, ROWS)
        tl.store(OUT + columns, out.to(OUT.dtype.element_ty), mask=columns < C)
