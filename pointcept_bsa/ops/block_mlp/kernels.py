"""Triton kernels of the block MLP. A row is a block and a head; the hidden layer is worked off HIDE units at a time and
computed again in the backward pass. No atomics: partial sums over the rows are written apart.

A launch serves two MLPs of the same shapes, each with an input of its own, or one: the third axis of the grid.

With h = relu(W_1 u + b_1) and the gradient G of the output W_2 h + b_2, rows of u, h and G one below the other:
``dhidden`` = (G W_2) * [h > 0]; du = dhidden W_1; dW_1 = dhidden^T u; db_1 = sum dhidden; dW_2 = G^T h; db_2 = sum G.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.matrix_product import dot, matrix


@triton.jit
def _slots(X, VALID, row, rows, slot_stride, head_stride, HEADS: tl.constexpr, SIZE: tl.constexpr, D: tl.constexpr,
           WIDTH: tl.constexpr, MASK: tl.constexpr):  # fmt: skip
    """(rows, WIDTH) values of the slots of a block, place * D + channel, zero in empty slots; and where they lie."""
    column = tl.arange(0, WIDTH)
    slot = (row // HEADS).to(tl.int64)[:, None] * SIZE + (column // D)[None, :]
    inside = (row < rows)[:, None] & (column < SIZE * D)[None, :]
    if MASK:
        inside = inside & (tl.load(VALID + slot, mask=inside, other=0) != 0)
    where = slot * slot_stride + (row % HEADS)[:, None] * head_stride + (column % D)[None, :]
    return tl.load(X + where, mask=inside, other=0.0), inside, slot


@triton.jit
def _hidden(u, W1, B1, unit, M: tl.constexpr, IN: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
            UPCAST: tl.constexpr):  # fmt: skip
    """relu(W_1 u + b_1) of some units (rows, HIDE) in float32, and their rows of W_1."""
    weight = matrix(W1, unit, tl.arange(0, WIDTH), M, IN)
    bias = tl.load(B1 + unit, mask=unit < M, other=0.0).to(tl.float32)
    return tl.maximum(dot(u, tl.trans(weight), PRECISION, UPCAST) + bias[None, :], 0.0), weight


@triton.jit
def forward_kernel(
    X, W1, B1, W2, B2, OUT, X_, W1_, B1_, W2_, B2_, OUT_, VALID, rows, slot_stride, head_stride,
    HEADS: tl.constexpr, SIZE: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr,
    OUTS: tl.constexpr, OUTS_UP: tl.constexpr, MASK: tl.constexpr,
    ROWS: tl.constexpr, HIDE: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """OUT (rows, OUTS)."""
    if tl.program_id(2) == 1:
        X, W1, B1, W2, B2, OUT = X_, W1_, B1_, W2_, B2_, OUT_
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    u, inside, slot = _slots(X, VALID, row, rows, slot_stride, head_stride, HEADS, SIZE, D, WIDTH, MASK)
    channel = tl.arange(0, OUTS_UP)
    out = tl.zeros([ROWS, OUTS_UP], tl.float32) + tl.load(B2 + channel, mask=channel < OUTS, other=0.0).to(tl.float32)
    for start in range(0, M, HIDE):
        unit = start + tl.arange(0, HIDE)
        hidden, weight1 = _hidden(u, W1, B1, unit, M, SIZE * D, WIDTH, PRECISION, UPCAST)
        weight = matrix(W2, channel, unit, OUTS, M)
        out += dot(hidden.to(u.dtype), tl.trans(weight), PRECISION, UPCAST)
    place = row.to(tl.int64)[:, None] * OUTS + channel[None, :]
    tl.store(OUT + place, out.to(OUT.dtype.element_ty), mask=(row < rows)[:, None] & (channel < OUTS)[None, :])


@triton.jit
def input_gradient_kernel(
    X, W1, B1, W2, GRAD, DX, X_, W1_, B1_, W2_, GRAD_, DX_, VALID, rows, slot_stride, head_stride,
    HEADS: tl.constexpr, SIZE: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr,
    OUTS: tl.constexpr, OUTS_UP: tl.constexpr, MASK: tl.constexpr,
    ROWS: tl.constexpr, HIDE: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """DX (S, H, D), contiguous; zero in empty slots."""
    if tl.program_id(2) == 1:
        X, W1, B1, W2, GRAD, DX = X_, W1_, B1_, W2_, GRAD_, DX_
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    u, inside, slot = _slots(X, VALID, row, rows, slot_stride, head_stride, HEADS, SIZE, D, WIDTH, MASK)
    channel = tl.arange(0, OUTS_UP)
    there = (row < rows)[:, None] & (channel < OUTS)[None, :]
    grad = tl.load(GRAD + row.to(tl.int64)[:, None] * OUTS + channel[None, :], mask=there, other=0.0)
    du = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, M, HIDE):
        unit = start + tl.arange(0, HIDE)
        hidden, weight1 = _hidden(u, W1, B1, unit, M, SIZE * D, WIDTH, PRECISION, UPCAST)
        weight2 = matrix(W2, channel, unit, OUTS, M)
        dhidden = tl.where(hidden > 0, dot(grad, weight2, PRECISION, UPCAST), 0.0).to(u.dtype)
        du += dot(dhidden, weight1, PRECISION, UPCAST)
    du = tl.where(inside, du, 0.0)  # an empty slot came in as zeros, whatever X holds there
    column = tl.arange(0, WIDTH)
    where = (slot * HEADS + (row % HEADS)[:, None]) * D + (column % D)[None, :]
    tl.store(DX + where, du.to(DX.dtype.element_ty), mask=(row < rows)[:, None] & (column < SIZE * D)[None, :])


@triton.jit
def weight_gradient_kernel(
    X, W1, B1, W2, GRAD, X_, W1_, B1_, W2_, GRAD_, DW, VALID, rows, slot_stride, head_stride, parts,
    HEADS: tl.constexpr, SIZE: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr,
    OUTS: tl.constexpr, OUTS_UP: tl.constexpr, MASK: tl.constexpr,
    ROWS: tl.constexpr, HIDE: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """DW (programs, MLPs, all weights) of HIDE hidden units over ``parts`` tiles of rows: W_1, b_1, W_2, b_2 after each
    other. The programs of the first units do b_2."""
    if tl.program_id(2) == 1:
        X, W1, B1, W2, GRAD = X_, W1_, B1_, W2_, GRAD_
    unit = tl.program_id(1) * HIDE + tl.arange(0, HIDE)
    channel, column = tl.arange(0, OUTS_UP), tl.arange(0, WIDTH)
    weight2 = matrix(W2, channel, unit, OUTS, M)
    dw1 = tl.zeros([HIDE, WIDTH], tl.float32)
    dw2 = tl.zeros([OUTS_UP, HIDE], tl.float32)
    db1 = tl.zeros([HIDE], tl.float32)
    db2 = tl.zeros([OUTS_UP], tl.float32)
    for part in range(parts):
        row = (tl.program_id(0) * parts + part) * ROWS + tl.arange(0, ROWS)
        u, inside, slot = _slots(X, VALID, row, rows, slot_stride, head_stride, HEADS, SIZE, D, WIDTH, MASK)
        there = (row < rows)[:, None] & (channel < OUTS)[None, :]
        grad = tl.load(GRAD + row.to(tl.int64)[:, None] * OUTS + channel[None, :], mask=there, other=0.0)
        hidden, weight1 = _hidden(u, W1, B1, unit, M, SIZE * D, WIDTH, PRECISION, UPCAST)
        hidden = tl.where((row < rows)[:, None], hidden, 0.0)
        dhidden = tl.where(hidden > 0, dot(grad, weight2, PRECISION, UPCAST), 0.0)
        db1 += tl.sum(dhidden, 0)
        db2 += tl.sum(grad.to(tl.float32), 0)
        dw1 += dot(tl.trans(dhidden).to(u.dtype), u, PRECISION, UPCAST)
        dw2 += dot(tl.trans(grad), hidden.to(u.dtype), PRECISION, UPCAST)
    number = tl.program_id(0) * tl.num_programs(2) + tl.program_id(2)
    first = DW + number.to(tl.int64) * (M * SIZE * D + M + OUTS * M + OUTS)
    units = unit < M
    tl.store(
        first + unit[:, None] * (SIZE * D) + column[None, :], dw1, mask=units[:, None] & (column < SIZE * D)[None, :]
    )
    first += M * SIZE * D
    tl.store(first + unit, db1, mask=units)
    first += M
    tl.store(first + channel[:, None] * M + unit[None, :], dw2, mask=(channel < OUTS)[:, None] & units[None, :])
    first += OUTS * M
    # All programs of these rows have the same db2: one of them stores it.
    tl.store(first + channel, db2, mask=(channel < OUTS) & (tl.program_id(1) == 0))
