"""Triton kernel that adds up the gradients of several uses of each part of a projection."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _sum(A, B, C, D, place, inside, COUNT: tl.constexpr, SIZE: tl.constexpr):
    total = tl.zeros([SIZE], tl.float32)
    if COUNT > 0:
        total += tl.load(A + place, mask=inside, other=0.0).to(tl.float32)
    if COUNT > 1:
        total += tl.load(B + place, mask=inside, other=0.0).to(tl.float32)
    if COUNT > 2:
        total += tl.load(C + place, mask=inside, other=0.0).to(tl.float32)
    if COUNT > 3:
        total += tl.load(D + place, mask=inside, other=0.0).to(tl.float32)
    return total


@triton.jit
def sum_kernel(A0, B0, C0, D0, A1, B1, C1, D1, A2, B2, C2, D2, OUT, size, channels, PARTS: tl.constexpr,
               COUNT0: tl.constexpr, COUNT1: tl.constexpr, COUNT2: tl.constexpr, SIZE: tl.constexpr):  # fmt: skip
    """OUT (S, PARTS, channels): the sum of up to four tensors (S, channels) for each part."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = place < size
    part = tl.program_id(1)
    total = tl.zeros([SIZE], tl.float32)
    if part == 0:
        total = _sum(A0, B0, C0, D0, place, inside, COUNT0, SIZE)
    if part == 1:
        total = _sum(A1, B1, C1, D1, place, inside, COUNT1, SIZE)
    if part == 2:
        total = _sum(A2, B2, C2, D2, place, inside, COUNT2, SIZE)
    where = (place // channels * PARTS + part) * channels + place % channels
    tl.store(OUT + where, total.to(OUT.dtype.element_ty), mask=inside)
