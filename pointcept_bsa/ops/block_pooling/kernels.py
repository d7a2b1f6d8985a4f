"""Triton kernels of the block mean. A program holds BLOCKS blocks and all C channels."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _weight(VALID, first, blocks, place: tl.constexpr, SIZE: tl.constexpr, BLOCKS: tl.constexpr, MASK: tl.constexpr):
    """(BLOCKS,) 1 where slot ``place`` of the block holds a point."""
    index = first + tl.arange(0, BLOCKS)
    if MASK:
        return tl.load(VALID + index.to(tl.int64) * SIZE + place, mask=index < blocks, other=0).to(tl.float32)
    return tl.full([BLOCKS], 1.0, tl.float32)


@triton.jit
def forward_kernel(X, VALID, OUT, blocks, stride, SIZE: tl.constexpr, C: tl.constexpr, COLUMNS: tl.constexpr,
                   MASK: tl.constexpr, BLOCKS: tl.constexpr):  # fmt: skip
    """OUT (L, C), the mean over the points of a block."""
    first = tl.program_id(0) * BLOCKS
    index = first + tl.arange(0, BLOCKS)
    columns = tl.arange(0, COLUMNS)
    inside = (index[:, None] < blocks) & (columns[None, :] < C)
    total = tl.zeros([BLOCKS, COLUMNS], tl.float32)
    count = tl.zeros([BLOCKS], tl.float32)
    for place in tl.static_range(SIZE):
        weight = _weight(VALID, first, blocks, place, SIZE, BLOCKS, MASK)
        where = (index.to(tl.int64) * SIZE + place)[:, None] * stride + columns[None, :]
        # Slots without a point are not even read: what stands there may be inf or NaN, and 0 NaN = NaN.
        total += weight[:, None] * tl.load(X + where, mask=inside & (weight[:, None] > 0), other=0.0).to(tl.float32)
        count += weight
    mean = total / tl.maximum(count, 1.0)[:, None]
    tl.store(OUT + index.to(tl.int64)[:, None] * C + columns[None, :], mean.to(OUT.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(GRAD, VALID, DX, blocks, SIZE: tl.constexpr, C: tl.constexpr, COLUMNS: tl.constexpr,
                    MASK: tl.constexpr, BLOCKS: tl.constexpr):  # fmt: skip
    """DX (S, C): dx = GRAD / (points of the block) in slots that hold one, else 0."""
    first = tl.program_id(0) * BLOCKS
    index = first + tl.arange(0, BLOCKS)
    columns = tl.arange(0, COLUMNS)
    inside = (index[:, None] < blocks) & (columns[None, :] < C)
    count = tl.zeros([BLOCKS], tl.float32)
    for place in tl.static_range(SIZE):
        count += _weight(VALID, first, blocks, place, SIZE, BLOCKS, MASK)
    grad = tl.load(GRAD + index.to(tl.int64)[:, None] * C + columns[None, :], mask=inside, other=0.0).to(tl.float32)
    grad = grad / tl.maximum(count, 1.0)[:, None]
    for place in tl.static_range(SIZE):
        weight = _weight(VALID, first, blocks, place, SIZE, BLOCKS, MASK)
        where = (index.to(tl.int64) * SIZE + place)[:, None] * C + columns[None, :]
        tl.store(DX + where, (weight[:, None] * grad).to(DX.dtype.element_ty), mask=inside)
