"""Triton kernels of RMSNorm. A program holds ROWS rows at a time; in the backward pass it walks over PARTS of them and
adds up the gradient of the weight, which is summed over programs afterwards: no atomics."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


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
def forward_kernel(X, WEIGHT, OUT, SCALE, rows, eps, C: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr):
    """OUT (rows, C) and SCALE (rows,) = 1 / sqrt(mean(x^2) + eps)."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    x = _load(X, row, rows, C, COLUMNS)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 1) / C + eps)
    columns = tl.arange(0, COLUMNS)
    weight = tl.load(WEIGHT + columns, mask=columns < C, other=0.0).to(tl.float32)
    _store(OUT, x * scale[:, None] * weight[None, :], row, rows, C, COLUMNS)
    tl.store(SCALE + row, scale, mask=row < rows)


@triton.jit
def backward_kernel(X, WEIGHT, SCALE, GRAD, DX, DWEIGHT, rows, C: tl.constexpr, COLUMNS: tl.constexpr,
                    ROWS: tl.constexpr, PARTS: tl.constexpr):  # fmt: skip
    """DX (rows, C), DWEIGHT (programs, C)."""
    columns = tl.arange(0, COLUMNS)
    weight = tl.load(WEIGHT + columns, mask=columns < C, other=0.0).to(tl.float32)
    dweight = tl.zeros([COLUMNS], tl.float32)
    for part in range(PARTS):
        row = (tl.program_id(0) * PARTS + part) * ROWS + tl.arange(0, ROWS)
        scale = tl.load(SCALE + row, mask=row < rows, other=0.0)
        normal = _load(X, row, rows, C, COLUMNS) * scale[:, None]
        grad = _load(GRAD, row, rows, C, COLUMNS)
        dweight += tl.sum(grad * normal, 0)
        grad = grad * weight[None, :]
        dx = (grad - normal * (tl.sum(grad * normal, 1) / C)[:, None]) * scale[:, None]
        _store(DX, dx, row, rows, C, COLUMNS)
    tl.store(DWEIGHT + tl.program_id(0).to(tl.int64) * C + columns, dweight, mask=columns < C)
