"""Triton kernels of the backward pass of dense attention with narrow heads. Legend as in ``narrow_kernels``.

With P = ``weight`` = 2^(QX KX^T FACTOR) (FOLD: without FACTOR), the softmax itself as QX holds -L, and
delta_i = sum_c GRAD_ic OUT_ic = sum_j P_ij dP_ij:
    dV = P^T GRAD;  dS = ``dlogits`` = P * (dP - delta) = P * (GX VX^T);  dQ = dS K / sqrt(D);  dK = dS^T Q / sqrt(D)
Rows of zeros need no mask: a query behind the last has GX = 0, so that it adds nothing to dV and dK; a key that is not
there has VX = 0 and adds nothing to dQ. Their own gradients are not stored, or set to zero.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from .narrow_kernels import (
    add_product,
    bias_columns,
    exp2,
    load_head,
    load_packed,
    product,
    rows_of_cloud,
    store_packed,
    two_parts,
)

LN2 = tl.constexpr(0.6931471805599453)  # FACTOR LN2 = 1 / sqrt(channels)


@triton.jit
def in_parts(x, columns, FIRST: tl.constexpr, TYPE: tl.constexpr):
    """(rows, columns): the numbers x (rows,) in three parts in the columns from FIRST on, zero elsewhere."""
    # bf16 has 8 significant bits, three of it the 24 of a float32.
    one = x.to(TYPE).to(tl.float32)
    two = (x - one).to(TYPE).to(tl.float32)
    three = x - one - two
    place = columns[None, :] - FIRST
    return tl.where(
        place == 0, one[:, None], tl.where(place == 1, two[:, None], tl.where(place == 2, three[:, None], 0.0))
    )


@triton.jit
def pack_queries_kernel(
    Q, OUT, GRAD, LSE, STARTS, QX, GX, q_batch, q_head, q_row, g_batch, g_head, g_row, queries, padded,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr, FOLD: tl.constexpr, FACTOR: tl.constexpr,
    ALIGN: tl.constexpr, OUT_ALIGN: tl.constexpr, ROWS: tl.constexpr, LISTED: tl.constexpr,
):  # fmt: skip
    """QX and GX (B H, Q', DIM)."""
    batch_head = tl.program_id(1)
    batch, head = batch_head // HEADS, batch_head % HEADS
    line, count, at = rows_of_cloud(STARTS, batch, head, queries, HEADS, LISTED)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < count
    columns = tl.arange(0, DIM)
    TYPE: tl.constexpr = QX.dtype.element_ty
    lse = tl.load(LSE + at + row, mask=inside, other=0.0)
    if LISTED:
        start = line * q_row + head.to(tl.int64) * q_head
        grad_start = line * g_row + head.to(tl.int64) * g_head
    else:
        start = batch.to(tl.int64) * q_batch + head.to(tl.int64) * q_head
        grad_start = batch.to(tl.int64) * g_batch + head.to(tl.int64) * g_head
    q = load_head(Q, row, inside, start, q_row, WIDTH, DIM, 2 if FOLD else 1, ALIGN)
    if FOLD:
        q = two_parts(q * FACTOR, columns, WIDTH, TYPE) + in_parts(-lse, columns, 2 * WIDTH, TYPE)
    else:
        q += in_parts(-lse / FACTOR, columns, WIDTH, TYPE)  # as ``exp2`` multiplies by FACTOR
    if LISTED:
        q = tl.where(bias_columns(columns, WIDTH)[None, :], 1.0, q)
    out_row = batch_head.to(tl.int64) * padded + row
    store_packed(QX, q, out_row, DIM)
    grad = load_head(GRAD, row, inside, grad_start, g_row, WIDTH, DIM, 1, OUT_ALIGN)
    start = (line * HEADS + head) * WIDTH
    out = load_head(OUT, row, inside, start, HEADS * WIDTH, WIDTH, DIM, 1, OUT_ALIGN)
    delta = tl.sum(grad * out, 1)
    store_packed(GX, grad + in_parts(-delta, columns, WIDTH, TYPE), out_row, DIM)


@triton.jit(do_not_specialize=["chunk"])
def key_gradient_kernel(
    QX, GX, KX, VX, STARTS, LENGTHS, PARTS, queries, chunk, padded_queries, padded_keys, part_size,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr, FOLD: tl.constexpr, FACTOR: tl.constexpr,
    EXP: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, UPCAST: tl.constexpr, LISTED: tl.constexpr,
):  # fmt: skip
    """PARTS (chunks, 2, B H, K', USED): gradients of keys (before the factor) and of values from a chunk of queries.
    Logits are held transposed, (keys, queries)."""
    tile, batch_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if LISTED:
        node = batch_head // HEADS
        if tile * KEYS >= tl.load(LENGTHS + node):  # behind the list: nobody reads those PARTS
            return
        queries = tl.load(STARTS + node + 1) - tl.load(STARTS + node)
    place = tile * KEYS + tl.arange(0, KEYS)
    KX += batch_head.to(tl.int64) * padded_keys * DIM
    VX += batch_head.to(tl.int64) * padded_keys * DIM
    QX += batch_head.to(tl.int64) * padded_queries * DIM
    GX += batch_head.to(tl.int64) * padded_queries * DIM
    k, v = load_packed(KX, place, DIM), load_packed(VX, place, DIM)
    dk = tl.zeros([KEYS, DIM], tl.float32)
    dv = tl.zeros([KEYS, DIM], tl.float32)
    REST: tl.constexpr = 1.0 if FOLD else FACTOR
    for first in range(part * chunk, min(part * chunk + chunk, queries), ROWS):
        row = first + tl.arange(0, ROWS)
        q, grad = load_packed(QX, row, DIM), load_packed(GX, row, DIM)
        weight = exp2(product(k, tl.trans(q), UPCAST), EXP, REST)
        dlogits = (weight * product(v, tl.trans(grad), UPCAST)).to(q.dtype)
        dv = add_product(weight.to(grad.dtype), grad, dv, UPCAST)
        dk = add_product(dlogits, q, dk, UPCAST)
    columns = tl.arange(0, DIM)
    USED: tl.constexpr = WIDTH * (2 if FOLD else 1)
    where = (batch_head.to(tl.int64) * padded_keys + place)[:, None] * USED + columns[None, :]
    PARTS += part.to(tl.int64) * 2 * part_size
    tl.store(PARTS + where, dk, mask=(columns < USED)[None, :])
    tl.store(PARTS + part_size + where, dv, mask=(columns < WIDTH)[None, :])


@triton.jit(do_not_specialize=["chunks"])
def sum_parts_kernel(
    PARTS, VALID, DK, DV, keys, padded_keys, part_size, chunks,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr, FOLD: tl.constexpr, FACTOR: tl.constexpr,
    MASK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """DK, DV (B, K, H, D): the sums over the chunks, zero for masked keys."""
    batch_head, values = tl.program_id(1), tl.program_id(2)
    batch, head = batch_head // HEADS, batch_head % HEADS
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, DIM)
    inside = row < keys
    there = inside
    if MASK:
        there &= tl.load(VALID + batch.to(tl.int64) * keys + row, mask=inside, other=0) != 0
    USED: tl.constexpr = WIDTH * (2 if FOLD else 1)
    where = (batch_head.to(tl.int64) * padded_keys + row)[:, None] * USED + columns[None, :]
    wanted = there[:, None] & (columns < WIDTH)[None, :]
    total = tl.zeros([ROWS, DIM], tl.float32)
    for part in range(chunks):
        here = PARTS + (part * 2 + values).to(tl.int64) * part_size + where
        total += tl.load(here, mask=wanted, other=0.0)
        if FOLD:  # QX holds two parts of each channel, whose sum it is
            total += tl.load(here + WIDTH, mask=wanted & (values == 0), other=0.0)
    out_row = (batch.to(tl.int64) * keys + row) * HEADS + head
    where = out_row[:, None] * WIDTH + columns[None, :]
    wanted = inside[:, None] & (columns < WIDTH)[None, :]
    if values == 0:
        total = total * (LN2 if FOLD else LN2 * FACTOR)  # FOLD: QX holds q FACTOR
        tl.store(DK + where, total.to(DK.dtype.element_ty), mask=wanted)
    else:
        tl.store(DV + where, total.to(DV.dtype.element_ty), mask=wanted)


@triton.jit
def query_gradient_kernel(
    QX, GX, KX, VX, STARTS, LENGTHS, DQ, queries, keys, padded_queries, padded_keys,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr, FOLD: tl.constexpr, FACTOR: tl.constexpr,
    EXP: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, UPCAST: tl.constexpr, LISTED: tl.constexpr,
):  # fmt: skip
    """DQ (B, Q, H, D)."""
    tile, batch_head = tl.program_id(0), tl.program_id(1)
    batch, head = batch_head // HEADS, batch_head % HEADS
    line, count, at = rows_of_cloud(STARTS, batch, head, queries, HEADS, LISTED)
    if LISTED:
        keys = tl.load(LENGTHS + batch)
    row = tile * ROWS + tl.arange(0, ROWS)
    KX += batch_head.to(tl.int64) * padded_keys * DIM
    VX += batch_head.to(tl.int64) * padded_keys * DIM
    QX += batch_head.to(tl.int64) * padded_queries * DIM
    GX += batch_head.to(tl.int64) * padded_queries * DIM
    q, grad = load_packed(QX, row, DIM), load_packed(GX, row, DIM)
    dq = tl.zeros([ROWS, DIM], tl.float32)
    REST: tl.constexpr = 1.0 if FOLD else FACTOR
    for first in range(0, keys, KEYS):
        place = first + tl.arange(0, KEYS)
        k, v = load_packed(KX, place, DIM), load_packed(VX, place, DIM)
        weight = exp2(product(q, tl.trans(k), UPCAST), EXP, REST)
        dlogits = weight * product(grad, tl.trans(v), UPCAST)
        dq = add_product(dlogits.to(k.dtype), k, dq, UPCAST)
    columns = tl.arange(0, DIM)
    out_row = (line + row) * HEADS + head
    dq = dq * (FACTOR * LN2)  # of the first WIDTH columns: KX holds k itself there, not a part of it
    wanted = (row < count)[:, None] & (columns < WIDTH)[None, :]
    tl.store(DQ + out_row[:, None] * WIDTH + columns[None, :], dq.to(DQ.dtype.element_ty), mask=wanted)
