"""Triton kernels of silu(a) b, forward and backward. A program holds SIZE elements."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_kernel(A, B, OUT, size, SIZE: tl.constexpr):
    """OUT = silu(A) B."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    a = tl.load(A + place, mask=place < size, other=0.0).to(tl.float32)
    b = tl.load(B + place, mask=place < size, other=0.0).to(tl.float32)
    out = a / (1.0 + tl.exp(-a)) * b
    tl.store(OUT + place, out.to(OUT.dtype.element_ty), mask=place < size)


@triton.jit
def backward_kernel(A, B, GRAD, DA, DB, size, SIZE: tl.constexpr):
    """DA and DB."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    a = tl.load(A + place, mask=place < size, other=0.0).to(tl.float32)
    b = tl.load(B + place, mask=place < size, other=0.0).to(tl.float32)
    grad = tl.load(GRAD + place, mask=place < size, other=0.0).to(tl.float32)
    sigmoid = 1.0 / (1.0 + tl.exp(-a))
    da = grad * b * sigmoid * (1.0 + a * (1.0 - sigmoid))
    tl.store(DA + place, da.to(DA.dtype.element_ty), mask=place < size)
    tl.store(DB + place, (grad * a * sigmoid).to(DB.dtype.element_ty), mask=place < size)
