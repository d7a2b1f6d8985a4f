"""Triton kernels of silu(a) b, forward and backward. A program holds SIZE elements, or ROWS x COLUMNS of them."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _silu_product(a, b):
    return a / (1.0 + tl.exp(-a)) * b


@triton.jit
def _gradients(a, b, grad):
    # silu(a) = a s with s = sigmoid(a), s' = s (1 - s): da = grad b (s + a s (1 - s)), db = grad a s.
    sigmoid = 1.0 / (1.0 + tl.exp(-a))
    return grad * b * sigmoid * (1.0 + a * (1.0 - sigmoid)), grad * a * sigmoid


@triton.jit
def forward_kernel(A, B, OUT, size, SIZE: tl.constexpr):
    """OUT = silu(A) B."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    a = tl.load(A + place, mask=place < size, other=0.0).to(tl.float32)
    b = tl.load(B + place, mask=place < size, other=0.0).to(tl.float32)
    tl.store(OUT + place, _silu_product(a, b).to(OUT.dtype.element_ty), mask=place < size)


@triton.jit
def backward_kernel(A, B, GRAD, DA, DB, size, SIZE: tl.constexpr):
    """DA and DB."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    a = tl.load(A + place, mask=place < size, other=0.0).to(tl.float32)
    b = tl.load(B + place, mask=place < size, other=0.0).to(tl.float32)
    grad = tl.load(GRAD + place, mask=place < size, other=0.0).to(tl.float32)
    da, db = _gradients(a, b, grad)
    tl.store(DA + place, da.to(DA.dtype.element_ty), mask=place < size)
    tl.store(DB + place, db.to(DB.dtype.element_ty), mask=place < size)


@triton.jit
def _offsets(rows, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Offsets into (rows, WIDTH) and into the first half of (rows, 2 WIDTH), and where they are inside."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    return row * WIDTH + column, row * (2 * WIDTH) + column, (row < rows) & (column < WIDTH)


@triton.jit
def halves_kernel(AB, OUT, rows, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """OUT (rows, WIDTH) = silu(A) B of the halves of AB (rows, 2 WIDTH)."""
    place, first, inside = _offsets(rows, WIDTH, ROWS, COLUMNS)
    a = tl.load(AB + first, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(AB + first + WIDTH, mask=inside, other=0.0).to(tl.float32)
    tl.store(OUT + place, _silu_product(a, b).to(OUT.dtype.element_ty), mask=inside)


@triton.jit
def halves_backward_kernel(AB, GRAD, DAB, rows, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """DAB (rows, 2 WIDTH)."""
    place, first, inside = _offsets(rows, WIDTH, ROWS, COLUMNS)
    a = tl.load(AB + first, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(AB + first + WIDTH, mask=inside, other=0.0).to(tl.float32)
    da, db = _gradients(a, b, tl.load(GRAD + place, mask=inside, other=0.0).to(tl.float32))
    tl.store(DAB + first, da.to(DAB.dtype.element_ty), mask=inside)
    tl.store(DAB + first + WIDTH, db.to(DAB.dtype.element_ty), mask=inside)
