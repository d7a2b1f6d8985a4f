"""Triton kernel that adds up the gradients of several uses of each part of a projection, and then the rows.

Programs are numbered by rows, and by blocks of COLUMNS columns, none of which holds columns of two parts. Each walks
over some tiles of ROWS rows; no other atomics than the counting of programs.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.launch import is_last, sum_of_parts


@triton.jit
def _part(A, B, C, D, OUT, first, column, rows, COUNT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
          TOTAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """Store the sum of COUNT tensors (rows, WIDTH), whose rows are STRIDE apart, into OUT, whose rows are TOTAL apart.
    What was stored, zero outside: (ROWS, COLUMNS)."""
    row = (first + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    columns = (column + tl.arange(0, COLUMNS))[None, :]
    inside = (row < rows) & (columns < WIDTH)
    place = row * STRIDE + columns
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    if COUNT > 0:
        total += tl.load(A + place, mask=inside, other=0.0).to(tl.float32)
    if COUNT > 1:
        total += tl.load(B + place, mask=inside, other=0.0).to(tl.float32)
    if COUNT > 2:
        total += tl.load(C + place, mask=inside, other=0.0).to(tl.float32)
    if COUNT > 3:
        total += tl.load(D + place, mask=inside, other=0.0).to(tl.float32)
    out = total.to(OUT.dtype.element_ty)
    tl.store(OUT + row * TOTAL + columns, out, mask=inside)
    # As rounded: the bias then gets the sum of what the layer below is given, as from a kernel of its own.
    return out.to(tl.float32)


@triton.jit
def sum_kernel(A0, B0, C0, D0, A1, B1, C1, D1, A2, B2, C2, D2, A3, B3, C3, D3, OUT, SUMS, COUNTERS, BIAS, rows, tiles,
               COUNT0: tl.constexpr, COUNT1: tl.constexpr, COUNT2: tl.constexpr, COUNT3: tl.constexpr,
               WIDTH0: tl.constexpr, WIDTH1: tl.constexpr, WIDTH2: tl.constexpr, WIDTH3: tl.constexpr,
               STRIDE0: tl.constexpr, STRIDE1: tl.constexpr, STRIDE2: tl.constexpr, STRIDE3: tl.constexpr,
               ROWS: tl.constexpr, COLUMNS: tl.constexpr, SUM: tl.constexpr, AT_ONCE: tl.constexpr):  # fmt: skip
    """OUT (rows, all widths): the sum of up to four tensors (rows, WIDTHp) for each part p, side by side; a program
    does ``tiles`` tiles. With SUM also BIAS (all widths,), its column sums; SUMS (programs, blocks, COLUMNS) in
    passing."""
    START1: tl.constexpr = WIDTH0
    START2: tl.constexpr = START1 + WIDTH1
    START3: tl.constexpr = START2 + WIDTH2
    TOTAL: tl.constexpr = START3 + WIDTH3
    BLOCK1: tl.constexpr = (WIDTH0 + COLUMNS - 1) // COLUMNS  # the first block of part 1
    BLOCK2: tl.constexpr = BLOCK1 + (WIDTH1 + COLUMNS - 1) // COLUMNS
    BLOCK3: tl.constexpr = BLOCK2 + (WIDTH2 + COLUMNS - 1) // COLUMNS
    block = tl.program_id(1)
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    for tile in range(tiles):
        first = (tl.program_id(0) * tiles + tile) * ROWS
        out = tl.zeros([ROWS, COLUMNS], tl.float32)
        if block < BLOCK1:
            out = _part(A0, B0, C0, D0, OUT, first, block * COLUMNS, rows, COUNT0, WIDTH0, STRIDE0, TOTAL,
                        ROWS, COLUMNS)  # fmt: skip
        elif block < BLOCK2:
            out = _part(A1, B1, C1, D1, OUT + START1, first, (block - BLOCK1) * COLUMNS, rows, COUNT1, WIDTH1, STRIDE1,
                        TOTAL, ROWS, COLUMNS)  # fmt: skip
        elif block < BLOCK3:
            out = _part(A2, B2, C2, D2, OUT + START2, first, (block - BLOCK2) * COLUMNS, rows, COUNT2, WIDTH2, STRIDE2,
                        TOTAL, ROWS, COLUMNS)  # fmt: skip
        else:
            out = _part(A3, B3, C3, D3, OUT + START3, first, (block - BLOCK3) * COLUMNS, rows, COUNT3, WIDTH3, STRIDE3,
                        TOTAL, ROWS, COLUMNS)  # fmt: skip
        if SUM:
            sums += out
    if SUM:
        programs, across = tl.num_programs(0), tl.num_programs(1) * COLUMNS
        slot = block * COLUMNS + tl.arange(0, COLUMNS)
        tl.store(SUMS + tl.program_id(0).to(tl.int64) * across + slot, tl.sum(sums, 0))
        if is_last(COUNTERS + block, programs):
            total = sum_of_parts(SUMS, programs, across, slot, slot < across, AT_ONCE)
            # Blocks fill whole COLUMNS, parts need not: what slots of a part are shifted by to be columns of OUT.
            begin = tl.where(block < BLOCK2, START1 - BLOCK1 * COLUMNS, START2 - BLOCK2 * COLUMNS)
            begin = tl.where(block < BLOCK1, 0, tl.where(block < BLOCK3, begin, START3 - BLOCK3 * COLUMNS))
            end = tl.where(block < BLOCK2, START2, START3)
            end = tl.where(block < BLOCK1, START1, tl.where(block < BLOCK3, end, TOTAL))
            tl.store(BIAS + begin + slot, total.to(BIAS.dtype.element_ty), mask=begin + slot < end)
