"""Triton kernels of the gated sum of three branches, forward and backward. A program holds ROWS slots, all heads."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _offsets(first, slots, ROWS: tl.constexpr, HEADS: tl.constexpr, HEADS_UP: tl.constexpr, DIM: tl.constexpr,
            WIDTH: tl.constexpr):  # fmt: skip
    """Offsets into (S, H, D), (ROWS, HEADS_UP, DIM), and where they are inside."""
    rows = (first + tl.arange(0, ROWS)).to(tl.int64)[:, None, None]
    heads = tl.arange(0, HEADS_UP)[None, :, None]
    columns = tl.arange(0, DIM)[None, None, :]
    inside = (rows < slots) & (heads < HEADS) & (columns < WIDTH)
    return (rows * HEADS + heads) * WIDTH + columns, inside


@triton.jit
def _gate(GATE, branch: tl.constexpr, first, slots, stride, ROWS: tl.constexpr, HEADS: tl.constexpr,
          HEADS_UP: tl.constexpr):  # fmt: skip
    """sigmoid of the logits of a branch, (ROWS, HEADS_UP)."""
    rows = (first + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    heads = tl.arange(0, HEADS_UP)[None, :]
    inside = (rows < slots) & (heads < HEADS)
    logit = tl.load(GATE + rows * stride + branch * HEADS + heads, mask=inside, other=0.0).to(tl.float32)
    return 1.0 / (1.0 + tl.exp(-logit))


@triton.jit
def forward_kernel(A, B, C, GATE, OUT, slots, stride, HEADS: tl.constexpr, HEADS_UP: tl.constexpr, DIM: tl.constexpr,
                   WIDTH: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """OUT (S, H, D)."""
    first = tl.program_id(0) * ROWS
    where, inside = _offsets(first, slots, ROWS, HEADS, HEADS_UP, DIM, WIDTH)
    a = tl.load(A + where, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(B + where, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(C + where, mask=inside, other=0.0).to(tl.float32)
    out = _gate(GATE, 0, first, slots, stride, ROWS, HEADS, HEADS_UP)[:, :, None] * a
    out += _gate(GATE, 1, first, slots, stride, ROWS, HEADS, HEADS_UP)[:, :, None] * b
    out += _gate(GATE, 2, first, slots, stride, ROWS, HEADS, HEADS_UP)[:, :, None] * c
    tl.store(OUT + where, out.to(OUT.dtype.element_ty), mask=inside)


@triton.jit
def _branch_gradient(X, DX, GATE, DGATE, grad, where, inside, branch: tl.constexpr, first, slots, stride,
                     ROWS: tl.constexpr, HEADS: tl.constexpr, HEADS_UP: tl.constexpr):  # fmt: skip
    # With g = sigmoid(logit): d branch = g grad, d logit = sum_c(branch grad) g (1 - g), as g' = g (1 - g).
    gate = _gate(GATE, branch, first, slots, stride, ROWS, HEADS, HEADS_UP)
    tl.store(DX + where, (gate[:, :, None] * grad).to(DX.dtype.element_ty), mask=inside)
    x = tl.load(X + where, mask=inside, other=0.0).to(tl.float32)
    dgate = tl.sum(x * grad, 2) * gate * (1.0 - gate)
    rows = (first + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    heads = tl.arange(0, HEADS_UP)[None, :]
    place = rows * (3 * HEADS) + branch * HEADS + heads
    tl.store(DGATE + place, dgate.to(DGATE.dtype.element_ty), mask=(rows < slots) & (heads < HEADS))


@triton.jit
def backward_kernel(A, B, C, GATE, GRAD, DA, DB, DC, DGATE, slots, stride, HEADS: tl.constexpr, HEADS_UP: tl.constexpr,
                    DIM: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """DA, DB, DC (S, H, D) and DGATE (S, 3 H)."""
    first = tl.program_id(0) * ROWS
    where, inside = _offsets(first, slots, ROWS, HEADS, HEADS_UP, DIM, WIDTH)
    grad = tl.load(GRAD + where, mask=inside, other=0.0).to(tl.float32)
    _branch_gradient(A, DA, GATE, DGATE, grad, where, inside, 0, first, slots, stride, ROWS, HEADS, HEADS_UP)
    _branch_gradient(B, DB, GATE, DGATE, grad, where, inside, 1, first, slots, stride, ROWS, HEADS, HEADS_UP)
    _branch_gradient(C, DC, GATE, DGATE, grad, where, inside, 2, first, slots, stride, ROWS, HEADS, HEADS_UP)
