"""Triton kernels of RMSNorm and of what stands before and after it in a transformer block.

ADD: the rows are first added to others. SPACE > 0: an affine map of SPACE coordinates is added to the result. A program
holds ROWS rows at a time; in the backward pass it walks over PARTS of them and adds up the gradients of the weights,
whose sum over the programs the last one takes.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.last_program import is_last, sum_of_parts


@triton.jit
def _load(X, row, rows, C: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    inside = (row[:, None] < rows) & (columns[None, :] < C)
    return tl.load(X + row.to(tl.int64)[:, None] * C + columns[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(X, value, row, rows, C: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    inside = (row[:, None] < rows) & (columns[None, :] < C)
    tl.store(X + row.to(tl.int64)[:, None] * C + columns[None, :], value.to(X.dtype.element_ty), mask=inside)


@triton.jit
def _coordinate(PLACE, row, rows, axis: tl.constexpr, SPACE: tl.constexpr):
    return tl.load(PLACE + row.to(tl.int64) * SPACE + axis, mask=row < rows, other=0.0).to(tl.float32)


@triton.jit
def forward_kernel(X, A, WEIGHT, PLACE, MAP, SHIFT, OUT, SUM, SCALE, rows, eps, C: tl.constexpr,
                   COLUMNS: tl.constexpr, ROWS: tl.constexpr, ADD: tl.constexpr, SPACE: tl.constexpr):  # fmt: skip
    """OUT (rows, C) = x SCALE WEIGHT + MAP PLACE + SHIFT with x = X, or with ADD x = SUM = X + A (rows, C), and
    SCALE (rows,) = 1 / sqrt(mean(x^2) + eps). MAP is (C, SPACE)."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    x = _load(X, row, rows, C, COLUMNS)
    if ADD:
        x += _load(A, row, rows, C, COLUMNS)
        _store(SUM, x, row, rows, C, COLUMNS)
        x = x.to(SUM.dtype.element_ty).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 1) / C + eps)
    weight = tl.load(WEIGHT + columns, mask=columns < C, other=0.0).to(tl.float32)
    out = x * scale[:, None] * weight[None, :]
    if SPACE > 0:
        out += tl.load(SHIFT + columns, mask=columns < C, other=0.0).to(tl.float32)[None, :]
        for axis in tl.static_range(SPACE):
            along = tl.load(MAP + columns * SPACE + axis, mask=columns < C, other=0.0).to(tl.float32)
            out += _coordinate(PLACE, row, rows, axis, SPACE)[:, None] * along[None, :]
    _store(OUT, out, row, rows, C, COLUMNS)
    tl.store(SCALE + row, scale, mask=row < rows)


@triton.jit
def backward_kernel(X, WEIGHT, PLACE, SCALE, GRAD, FURTHER, DX, DA, SUMS, COUNTER, DWEIGHTS, rows, C: tl.constexpr,
                    COLUMNS: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr, SPACE: tl.constexpr,
                    FURTHER_GRAD: tl.constexpr, TWICE: tl.constexpr):  # fmt: skip
    """DX (rows, C), to which FURTHER_GRAD adds a gradient that x has from elsewhere; TWICE: also as DA, in its type.
    DWEIGHTS: the gradients of WEIGHT (C,) and, behind it, of SHIFT (C,) and MAP (C, SPACE); SUMS in passing."""
    columns = tl.arange(0, COLUMNS)
    inside = columns < C
    weight = tl.load(WEIGHT + columns, mask=inside, other=0.0).to(tl.float32)
    dweight = tl.zeros([COLUMNS], tl.float32)
    dshift = tl.zeros([COLUMNS], tl.float32)
    dmap0 = tl.zeros([COLUMNS], tl.float32)
    dmap1 = tl.zeros([COLUMNS], tl.float32)
    dmap2 = tl.zeros([COLUMNS], tl.float32)
    for part in range(PARTS):
        row = (tl.program_id(0) * PARTS + part) * ROWS + tl.arange(0, ROWS)
        scale = tl.load(SCALE + row, mask=row < rows, other=0.0)
        normal = _load(X, row, rows, C, COLUMNS) * scale[:, None]
        grad = _load(GRAD, row, rows, C, COLUMNS)
        dweight += tl.sum(grad * normal, 0)
        if SPACE > 0:
            dshift += tl.sum(grad, 0)
            dmap0 += tl.sum(grad * _coordinate(PLACE, row, rows, 0, SPACE)[:, None], 0)
        if SPACE > 1:
            dmap1 += tl.sum(grad * _coordinate(PLACE, row, rows, 1, SPACE)[:, None], 0)
        if SPACE > 2:
            dmap2 += tl.sum(grad * _coordinate(PLACE, row, rows, 2, SPACE)[:, None], 0)
        grad = grad * weight[None, :]
        dx = (grad - normal * (tl.sum(grad * normal, 1) / C)[:, None]) * scale[:, None]
        if FURTHER_GRAD:
            dx += _load(FURTHER, row, rows, C, COLUMNS)
        _store(DX, dx, row, rows, C, COLUMNS)
        if TWICE:
            _store(DA, dx, row, rows, C, COLUMNS)
    programs = tl.num_programs(0)
    MANY: tl.constexpr = C * (2 + SPACE if SPACE > 0 else 1)
    sums = SUMS + tl.program_id(0).to(tl.int64) * MANY
    tl.store(sums + columns, dweight, mask=inside)
    if SPACE > 0:
        tl.store(sums + C + columns, dshift, mask=inside)
        tl.store(sums + 2 * C + columns * SPACE, dmap0, mask=inside)
    if SPACE > 1:
        tl.store(sums + 2 * C + columns * SPACE + 1, dmap1, mask=inside)
    if SPACE > 2:
        tl.store(sums + 2 * C + columns * SPACE + 2, dmap2, mask=inside)
    if is_last(COUNTER, programs):
        for start in tl.static_range(0, MANY, COLUMNS):
            place = start + columns
            total = sum_of_parts(SUMS, programs, MANY, place, place < MANY, ROWS)
            tl.store(DWEIGHTS + place, total.to(DWEIGHTS.dtype.element_ty), mask=place < MANY)
