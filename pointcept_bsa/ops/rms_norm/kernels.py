"""Triton kernels of RMSNorm and of what stands before and after it in a transformer block.

ADD: the rows are first added to others. MOVE: and put into another order, row r being taken from row ORDER[r]; with
OTHERS from row -1 - ORDER[r] of these, where that is negative.
SPACE > 0: an affine map of SPACE coordinates is added to the result. A program holds ROWS rows at a time; in the
backward pass it walks over PARTS of them and adds up the gradients of the weights, whose sum over the programs the last
one takes.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.launch import is_last, sum_of_parts


@triton.jit
def _load(X, row, rows, C: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    inside = (row[:, None] >= 0) & (row[:, None] < rows) & (columns[None, :] < C)
    return tl.load(X + row.to(tl.int64)[:, None] * C + columns[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(X, value, row, rows, C: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    inside = (row[:, None] >= 0) & (row[:, None] < rows) & (columns[None, :] < C)
    tl.store(X + row.to(tl.int64)[:, None] * C + columns[None, :], value.to(X.dtype.element_ty), mask=inside)


@triton.jit
def _coordinate(POSITION, row, rows, axis: tl.constexpr, SPACE: tl.constexpr):
    return tl.load(POSITION + row.to(tl.int64) * SPACE + axis, mask=row < rows, other=0.0).to(tl.float32)


@triton.jit
def _source(ORDER, row, rows, MOVE: tl.constexpr):
    """Where a row comes from; ``rows`` or more for those beyond the last."""
    source = row.to(tl.int64)
    if MOVE:
        source = tl.load(ORDER + row, mask=row < rows, other=0x7FFFFFFF)
    return source


@triton.jit
def forward_kernel(X, A, OTHERS, ORDER, WEIGHT, POSITION, MAP, SHIFT, OUT, TOTAL, SCALE, rows, eps, C: tl.constexpr,
                   COLUMNS: tl.constexpr, ROWS: tl.constexpr, ADD: tl.constexpr, MOVE: tl.constexpr,
                   FROM_OTHERS: tl.constexpr, SPACE: tl.constexpr):  # fmt: skip
    """OUT (rows, C) = x SCALE WEIGHT + MAP POSITION + SHIFT with x = X, or with ADD or MOVE x = TOTAL = (X + A)[ORDER]
    (rows, C), FROM_OTHERS for some, and SCALE (rows,) = 1 / sqrt(mean(x^2) + eps). MAP is (C, SPACE)."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    source = _source(ORDER, row, rows, MOVE)
    x = _load(X, source, rows, C, COLUMNS)
    if ADD:
        x += _load(A, source, rows, C, COLUMNS)
    if FROM_OTHERS:
        x += _load(OTHERS, -1 - source, rows, C, COLUMNS)
    if ADD or MOVE:
        _store(TOTAL, x, row, rows, C, COLUMNS)
        # As stored: the backward pass knows x in that type alone, and SCALE has to be that of the same x.
        x = x.to(TOTAL.dtype.element_ty).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 1) / C + eps)
    weight = tl.load(WEIGHT + columns, mask=columns < C, other=0.0).to(tl.float32)
    out = x * scale[:, None] * weight[None, :]
    if SPACE > 0:
        out += tl.load(SHIFT + columns, mask=columns < C, other=0.0).to(tl.float32)[None, :]
        for axis in tl.static_range(SPACE):
            along = tl.load(MAP + columns * SPACE + axis, mask=columns < C, other=0.0).to(tl.float32)
            out += _coordinate(POSITION, row, rows, axis, SPACE)[:, None] * along[None, :]
    _store(OUT, out, row, rows, C, COLUMNS)
    tl.store(SCALE + row, scale, mask=row < rows)


@triton.jit
def backward_kernel(X, ORDER, WEIGHT, POSITION, SCALE, GRAD, FURTHER, DX, DA, DOTHERS, SUMS, COUNTER, DWEIGHTS, rows,
                    C: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr,
                    MOVE: tl.constexpr, FROM_OTHERS: tl.constexpr, SPACE: tl.constexpr, FURTHER_GRAD: tl.constexpr,
                    TWICE: tl.constexpr, BIAS: tl.constexpr, WIDE: tl.constexpr, AT_ONCE: tl.constexpr):  # fmt: skip
    """DX (rows, C) of x = X, to which FURTHER_GRAD adds a gradient that x has from elsewhere; with MOVE row r of it is
    put where it came from, FROM_OTHERS into DOTHERS; TWICE: also as DA, in its type. DWEIGHTS: the gradients of WEIGHT
    (C,) and, behind it, of SHIFT (C,) and MAP (C, SPACE), and with BIAS the column sums of DA, or of DX (C,); SUMS in
    passing."""
    columns = tl.arange(0, COLUMNS)
    inside = columns < C
    weight = tl.load(WEIGHT + columns, mask=inside, other=0.0).to(tl.float32)
    dweight = tl.zeros([COLUMNS], tl.float32)
    dshift = tl.zeros([COLUMNS], tl.float32)
    # Triton has no lists of blocks in a loop: a variable for each coordinate, so there are at most three.
    dmap0 = tl.zeros([COLUMNS], tl.float32)
    dmap1 = tl.zeros([COLUMNS], tl.float32)
    dmap2 = tl.zeros([COLUMNS], tl.float32)
    dbias = tl.zeros([COLUMNS], tl.float32)
    for part in range(PARTS):
        row = (tl.program_id(0) * PARTS + part) * ROWS + tl.arange(0, ROWS)
        scale = tl.load(SCALE + row, mask=row < rows, other=0.0)
        normal = _load(X, row, rows, C, COLUMNS) * scale[:, None]
        grad = _load(GRAD, row, rows, C, COLUMNS)
        dweight += tl.sum(grad * normal, 0)
        if SPACE > 0:
            dshift += tl.sum(grad, 0)
            dmap0 += tl.sum(grad * _coordinate(POSITION, row, rows, 0, SPACE)[:, None], 0)
        if SPACE > 1:
            dmap1 += tl.sum(grad * _coordinate(POSITION, row, rows, 1, SPACE)[:, None], 0)
        if SPACE > 2:
            dmap2 += tl.sum(grad * _coordinate(POSITION, row, rows, 2, SPACE)[:, None], 0)
        grad = grad * weight[None, :]
        # With n = x scale, scale = 1 / sqrt(mean(x^2) + eps) and g = WEIGHT GRAD: dx = scale (g - n mean(g n)).
        dx = (grad - normal * (tl.sum(grad * normal, 1) / C)[:, None]) * scale[:, None]
        if FURTHER_GRAD:
            dx += _load(FURTHER, row, rows, C, COLUMNS)
        source = _source(ORDER, row, rows, MOVE)
        # ORDER is a permutation: no two rows go to one place, and nothing has to be added there.
        _store(DX, dx, source, rows, C, COLUMNS)
        if TWICE:
            _store(DA, dx, source, rows, C, COLUMNS)
        if FROM_OTHERS:
            _store(DOTHERS, dx, -1 - source, rows, C, COLUMNS)
        if BIAS:
            # Of the rounded numbers, which are what autograd would have summed.
            dbias += tl.sum(dx.to(DA.dtype.element_ty if TWICE else DX.dtype.element_ty).to(tl.float32), 0)
    programs = tl.num_programs(0)
    BEFORE: tl.constexpr = C * (2 + SPACE if SPACE > 0 else 1)
    MANY: tl.constexpr = BEFORE + (C if BIAS else 0)
    sums = SUMS + tl.program_id(0).to(tl.int64) * MANY
    tl.store(sums + columns, dweight, mask=inside)
    if SPACE > 0:
        tl.store(sums + C + columns, dshift, mask=inside)
        tl.store(sums + 2 * C + columns * SPACE, dmap0, mask=inside)
    if SPACE > 1:
        tl.store(sums + 2 * C + columns * SPACE + 1, dmap1, mask=inside)
    if SPACE > 2:
        tl.store(sums + 2 * C + columns * SPACE + 2, dmap2, mask=inside)
    if BIAS:
        tl.store(sums + BEFORE + columns, dbias, mask=inside)
    if is_last(COUNTER, programs):
        for start in tl.static_range(0, MANY, WIDE):
            position = start + tl.arange(0, WIDE)
            total = sum_of_parts(SUMS, programs, MANY, position, position < MANY, AT_ONCE)
            tl.store(DWEIGHTS + position, total.to(DWEIGHTS.dtype.element_ty), mask=position < MANY)
