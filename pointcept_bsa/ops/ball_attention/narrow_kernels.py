"""Triton kernels of ball attention with narrow heads in bfloat16, forward and backward.

A score of 8 channels is cheap for the tensor cores; what costs is the rest, most of all the distance bias. So a
program holds one tile of queries (forward, ``dq``) or of keys (``dk``, ``dv``) of one ball and TOGETHER heads, and the
distances of a tile are computed once for all of them. What else a score takes stands in the padding of the matrix
products, as in :mod:`..dense_attention.narrow_kernels`, by rows of DIM channels:

``KX`` = [k, 1, 1, 1, 0 or FAR], ``VX`` = [v, 1, 1, 1]: FAR for keys that are not there;
``QX`` = [q, -L / FACTOR in three parts, 1], ``GX`` = [gradient of the output, -delta in three parts]: QX KX^T is the
    logit minus L, the log-sum-exp of the row, before the product with FACTOR, and GX VX^T is dP - delta. In the forward
    pass, which has no L yet, QX = [q, 0, 0, 0, 1], and the product of the weights with VX has their sum beside it.

FACTOR = log2(e) / sqrt(channels): logits are kept in units of log 2. The gradients, with P = ``weight``, the softmax:
    dV = P^T GRAD;  dS = ``dlogits`` = P * (dP - delta);  dQ = dS K / sqrt(D);  dK = dS^T Q / sqrt(D)
    dsigma = sum_ij dS_ij distance_ij
All sums have a fixed order. Rows of empty slots are computed along: their gradients are zero, their keys FAR.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,assignment,var-annotated,index"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.dense_attention.narrow_gradient_kernels import LN2, in_parts
from pointcept_bsa.ops.dense_attention.narrow_kernels import add_product, exp2, load_packed, store_packed
from pointcept_bsa.ops.launch import is_last, sum_of_parts

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-(2.0**60))  # below every logit
# That of a key that is not there, far below LOWEST: its power is 0 beside everything. float16 has no such number.
FAR = tl.constexpr(-(2.0**100))
ONES = tl.constexpr(3)  # columns beside the channels, for a float32 in three parts


@triton.jit
def _load(ptr, head, row, head_stride, row_stride, WIDTH: tl.constexpr, DIM: tl.constexpr, ALIGN: tl.constexpr):
    """(rows, DIM) channels of a head, zero beyond WIDTH; offsets are those within a ball and fit 32 bits."""
    columns = tl.arange(0, DIM)[None, :]
    # What Triton cannot see in strides: rows begin at multiples of ALIGN, so that vectors can be loaded.
    where = tl.multiple_of(head * head_stride + row * row_stride, ALIGN)[:, None] + columns
    return tl.load(ptr + where, mask=columns < WIDTH, other=0.0)


@triton.jit
def _store(ptr, value, head, row, HEADS: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr, ALIGN: tl.constexpr):
    """Into (S, H, WIDTH)."""
    columns = tl.arange(0, DIM)[None, :]
    where = tl.multiple_of((row * HEADS + head) * WIDTH, ALIGN)[:, None] + columns
    tl.store(ptr + where, value.to(ptr.dtype.element_ty), mask=columns < WIDTH)


@triton.jit
def _beside(x, WIDTH: tl.constexpr):
    """[x, 1, 1, 1]."""
    columns = tl.arange(0, x.shape[1])[None, :]
    one = tl.full([1, 1], 1.0, tl.float32).to(x.dtype)
    return tl.where((columns >= WIDTH) & (columns < WIDTH + ONES), one, x)


@triton.jit
def _last(x, value, WIDTH: tl.constexpr):
    """x with the numbers ``value`` (rows, 1) or (1, 1) in the column behind the three."""
    columns = tl.arange(0, x.shape[1])[None, :]
    return tl.where(columns == WIDTH + ONES, value.to(x.dtype), x)


@triton.jit
def _positions(COORD, row, SPACE: tl.constexpr):
    """A tensor (rows,) for each axis."""
    positions = ()
    for axis in tl.static_range(SPACE):
        positions = positions + (tl.load(COORD + row * SPACE + axis),)
    return positions


@triton.jit
def _distance(a, b, SPACE: tl.constexpr, UPCAST: tl.constexpr):
    """(rows, columns) distances of positions."""
    squared = tl.zeros([a[0].shape[0], b[0].shape[0]], tl.float32)
    for axis in tl.static_range(SPACE):
        # |a|^2 - 2ab + |b|^2 would be a matrix product, but cancels for near points: as the reference.
        difference = a[axis][:, None] - b[axis][None, :]
        squared += difference * difference
    if UPCAST:  # the interpreter knows no PTX
        return tl.sqrt(squared)
    # One instruction; ``tl.sqrt`` takes six, as it also serves numbers below 2^-126.
    return tl.inline_asm_elementwise("sqrt.approx.ftz.f32 $0, $1;", "=f,f", [squared], tl.float32, True, 1)


@triton.jit
def _keys(K, V, inside, shared, row, k_row, k_head, v_row, v_head, WIDTH: tl.constexpr, DIM: tl.constexpr,
          MASK: tl.constexpr, ALIGN: tl.constexpr):  # fmt: skip
    """KX and VX of a head."""
    if MASK:  # zeros and FAR, whatever an empty slot holds: NaN would stay NaN
        columns = tl.arange(0, DIM)[None, :]
        where = tl.multiple_of(shared * k_head + row * k_row, ALIGN)[:, None] + columns
        k = tl.load(K + where, mask=(columns < WIDTH) & inside[:, None], other=0.0)
        k = _last(k, tl.where(inside, 0.0, FAR)[:, None], WIDTH)
    else:
        k = _load(K, shared, row, k_head, k_row, WIDTH, DIM, ALIGN)
    return _beside(k, WIDTH), _beside(_load(V, shared, row, v_head, v_row, WIDTH, DIM, ALIGN), WIDTH)


@triton.jit
def _logits(a, b, sigma, distance, BIAS: tl.constexpr, UPCAST: tl.constexpr):
    """a b^T, with the bias in units of the logit before the product with FACTOR."""
    if BIAS:
        return add_product(a, tl.trans(b), sigma * distance, UPCAST)
    return add_product(a, tl.trans(b), tl.zeros([a.shape[0], b.shape[0]], tl.float32), UPCAST)


@triton.jit
def forward_kernel(
    Q, K, V, COORD, SIGMA, VALID, OUT, LSE, q_row, q_head, k_row, k_head, v_row, v_head, slots,
    HEADS: tl.constexpr, GROUP: tl.constexpr, BALL: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    FACTOR: tl.constexpr, SPACE: tl.constexpr, BIAS: tl.constexpr, MASK: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, TOGETHER: tl.constexpr, EXP: tl.constexpr, UPCAST: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """OUT (S, H, D) and LSE (H, S), log2 of the sum of exponentials."""
    first, head = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1) * TOGETHER
    ball = first // BALL * BALL
    row = (first - ball).to(tl.int32) + tl.arange(0, ROWS)
    Q, K, V, OUT = Q + ball * q_row, K + ball * k_row, V + ball * v_row, OUT + ball * HEADS * WIDTH
    if BIAS:
        COORD += ball * SPACE
        here = _positions(COORD, row, SPACE)
    if MASK:
        VALID += ball
    one = tl.full([1, 1], 1.0, tl.float32)
    q, sigma, highest, out = (), (), (), ()
    for i in tl.static_range(TOGETHER):
        q = q + (_last(_load(Q, head + i, row, q_head, q_row, WIDTH, DIM, ALIGN), one, WIDTH),)
        sigma = sigma + (tl.load(SIGMA + head + i).to(tl.float32) * (LOG2E / FACTOR) if BIAS else 0.0,)
        highest = highest + (tl.full([ROWS], LOWEST, tl.float32),)
        out = out + (tl.zeros([ROWS, DIM], tl.float32),)
    for start in range(0, BALL, KEYS):
        key = start + tl.arange(0, KEYS)
        distance = _distance(here, _positions(COORD, key, SPACE), SPACE, UPCAST) if BIAS else 0.0
        inside = tl.load(VALID + key) != 0 if MASK else True
        keys, higher, further = (), (), ()
        for i in tl.static_range(TOGETHER):  # all loads first: they do not wait for each other
            shared = (head + i) // GROUP
            keys = keys + (_keys(K, V, inside, shared, key, k_row, k_head, v_row, v_head, WIDTH, DIM, MASK, ALIGN),)
        for i in tl.static_range(TOGETHER):
            k, v = keys[i]
            logits = _logits(q[i], k, sigma[i], distance, BIAS, UPCAST)
            new = tl.maximum(highest[i], tl.max(logits, 1))
            weight = exp2(logits * FACTOR - (new * FACTOR)[:, None], EXP, 1.0)
            old = tl.exp2((highest[i] - new) * FACTOR)
            further = further + (add_product(weight.to(v.dtype), v, out[i] * old[:, None], UPCAST),)
            higher = higher + (new,)
        highest, out = higher, further
    for i in tl.static_range(TOGETHER):
        # Column WIDTH, the sum of weights as they were rounded for the product: numerator and denominator agree.
        total = tl.sum(tl.where((tl.arange(0, DIM) == WIDTH)[None, :], out[i], 0.0), 1)
        found = total > 0
        total = tl.where(found, total, 1.0)
        lse = tl.where(found, highest[i] * FACTOR, 0.0) + tl.log2(total)
        tl.store(LSE + (head + i).to(tl.int64) * slots + ball + row, lse)
        mean = out[i] / total[:, None]
        if MASK:
            mean = tl.where((tl.load(VALID + row) != 0)[:, None], mean, 0.0)
        _store(OUT, mean, head + i, row, HEADS, WIDTH, DIM, ALIGN)


@triton.jit
def query_gradient_kernel(
    Q, K, V, COORD, SIGMA, VALID, OUT, LSE, GRAD, QX, GX, DQ, q_row, q_head, k_row, k_head, v_row, v_head, slots,
    HEADS: tl.constexpr, GROUP: tl.constexpr, BALL: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    FACTOR: tl.constexpr, SPACE: tl.constexpr, BIAS: tl.constexpr, MASK: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, TOGETHER: tl.constexpr, EXP: tl.constexpr, UPCAST: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """DQ (S, H, D), and QX, GX (H, S, DIM) for ``key_gradient_kernel``."""
    first, head = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1) * TOGETHER
    ball = first // BALL * BALL
    row = (first - ball).to(tl.int32) + tl.arange(0, ROWS)
    Q, K, V, DQ = Q + ball * q_row, K + ball * k_row, V + ball * v_row, DQ + ball * HEADS * WIDTH
    OUT, GRAD = OUT + ball * HEADS * WIDTH, GRAD + ball * HEADS * WIDTH
    TYPE: tl.constexpr = QX.dtype.element_ty
    columns = tl.arange(0, DIM)
    if BIAS:
        COORD += ball * SPACE
        here = _positions(COORD, row, SPACE)
    if MASK:
        VALID += ball
    one = tl.full([1, 1], 1.0, tl.float32)
    q, sigma, grad, dq = (), (), (), ()
    for i in tl.static_range(TOGETHER):
        packed = (head + i).to(tl.int64) * slots + ball
        base = -tl.load(LSE + packed + row) / FACTOR
        x = _load(Q, head + i, row, q_head, q_row, WIDTH, DIM, ALIGN).to(tl.float32)
        if MASK:  # whatever an empty slot holds: its weights are 0, also far away where sigma is positive
            there = tl.load(VALID + row) != 0
            x, base = tl.where(there[:, None], x, 0.0), tl.where(there, base, FAR)
        x = _last(x + in_parts(base, columns, WIDTH, TYPE), one, WIDTH).to(TYPE)
        store_packed(QX + packed * DIM, x, row, DIM)
        q = q + (x,)
        y = _load(GRAD, head + i, row, WIDTH, HEADS * WIDTH, WIDTH, DIM, ALIGN).to(tl.float32)
        if MASK:  # the forward pass has put zeros there: nothing of that row must reach dk and dv
            y = tl.where(there[:, None], y, 0.0)
        # dP - delta, where delta_i = sum_j P_ij dP_ij = sum_c GRAD_ic OUT_ic
        delta = tl.sum(y * _load(OUT, head + i, row, WIDTH, HEADS * WIDTH, WIDTH, DIM, ALIGN).to(tl.float32), 1)
        y = (y + in_parts(-delta, columns, WIDTH, TYPE)).to(TYPE)
        store_packed(GX + packed * DIM, y, row, DIM)
        grad = grad + (y,)
        sigma = sigma + (tl.load(SIGMA + head + i).to(tl.float32) * (LOG2E / FACTOR) if BIAS else 0.0,)
        dq = dq + (tl.zeros([ROWS, DIM], tl.float32),)
    for start in range(0, BALL, KEYS):
        key = start + tl.arange(0, KEYS)
        distance = _distance(here, _positions(COORD, key, SPACE), SPACE, UPCAST) if BIAS else 0.0
        inside = tl.load(VALID + key) != 0 if MASK else True
        keys, further = (), ()
        for i in tl.static_range(TOGETHER):
            shared = (head + i) // GROUP
            keys = keys + (_keys(K, V, inside, shared, key, k_row, k_head, v_row, v_head, WIDTH, DIM, MASK, ALIGN),)
        for i in tl.static_range(TOGETHER):
            k, v = keys[i]
            weight = exp2(_logits(q[i], k, sigma[i], distance, BIAS, UPCAST), EXP, FACTOR)
            dlogits = weight * _logits(grad[i], v, 0.0, 0.0, False, UPCAST)
            further = further + (add_product(dlogits.to(TYPE), k, dq[i], UPCAST),)
        dq = further
    for i in tl.static_range(TOGETHER):
        _store(DQ, dq[i] * (FACTOR * LN2), head + i, row, HEADS, WIDTH, DIM, ALIGN)


@triton.jit
def key_gradient_kernel(
    QX, GX, K, V, COORD, SIGMA, VALID, DK, DV, SIGMA_SUMS, COUNTERS, DSIGMA, k_row, k_head, v_row, v_head, slots,
    HEADS: tl.constexpr, GROUP: tl.constexpr, BALL: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    FACTOR: tl.constexpr, SPACE: tl.constexpr, BIAS: tl.constexpr, MASK: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, TOGETHER: tl.constexpr, EXP: tl.constexpr, UPCAST: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """DK, DV (S, H, D) by query head and DSIGMA (H,); SIGMA_SUMS (tiles, H) in passing. Logits are held transposed,
    (keys, queries), as the products for DK and DV want them."""
    first, head = tl.program_id(0).to(tl.int64) * KEYS, tl.program_id(1) * TOGETHER
    ball = first // BALL * BALL
    key = (first - ball).to(tl.int32) + tl.arange(0, KEYS)
    K, V, DK, DV = K + ball * k_row, V + ball * v_row, DK + ball * HEADS * WIDTH, DV + ball * HEADS * WIDTH
    TYPE: tl.constexpr = QX.dtype.element_ty
    if BIAS:
        COORD += ball * SPACE
        here = _positions(COORD, key, SPACE)
    inside = tl.load(VALID + ball + key) != 0 if MASK else True
    keys, sigma, dk, dv, dsigma = (), (), (), (), ()
    for i in tl.static_range(TOGETHER):
        shared = (head + i) // GROUP
        keys = keys + (_keys(K, V, inside, shared, key, k_row, k_head, v_row, v_head, WIDTH, DIM, MASK, ALIGN),)
        sigma = sigma + (tl.load(SIGMA + head + i).to(tl.float32) * (LOG2E / FACTOR) if BIAS else 0.0,)
        dk = dk + (tl.zeros([KEYS, DIM], tl.float32),)
        dv = dv + (tl.zeros([KEYS, DIM], tl.float32),)
        dsigma = dsigma + (tl.zeros([KEYS], tl.float32),)
    for start in range(0, BALL, ROWS):
        row = start + tl.arange(0, ROWS)
        distance = _distance(here, _positions(COORD, row, SPACE), SPACE, UPCAST) if BIAS else 0.0
        queries, further_k, further_v, further_sigma = (), (), (), ()
        for i in tl.static_range(TOGETHER):
            packed = ((head + i).to(tl.int64) * slots + ball) * DIM
            queries = queries + ((load_packed(QX + packed, row, DIM), load_packed(GX + packed, row, DIM)),)
        for i in tl.static_range(TOGETHER):
            k, v = keys[i]
            q, grad = queries[i]
            weight = exp2(_logits(k, q, sigma[i], distance, BIAS, UPCAST), EXP, FACTOR)
            dlogits = weight * _logits(v, grad, 0.0, 0.0, False, UPCAST)
            further_v = further_v + (add_product(weight.to(TYPE), grad, dv[i], UPCAST),)
            further_k = further_k + (add_product(dlogits.to(TYPE), q, dk[i], UPCAST),)
            further_sigma = further_sigma + (dsigma[i] + tl.sum(dlogits * distance, 1) if BIAS else dsigma[i],)
        dk, dv, dsigma = further_k, further_v, further_sigma
    for i in tl.static_range(TOGETHER):
        to_k, to_v = dk[i] * (FACTOR * LN2), dv[i]
        if MASK:  # polynomials raise 2^FAR to 2^-126
            to_k, to_v = tl.where(inside[:, None], to_k, 0.0), tl.where(inside[:, None], to_v, 0.0)
        _store(DK, to_k, head + i, key, HEADS, WIDTH, DIM, ALIGN)
        _store(DV, to_v, head + i, key, HEADS, WIDTH, DIM, ALIGN)
        if BIAS:
            tl.store(SIGMA_SUMS + tl.program_id(0).to(tl.int64) * HEADS + head + i, tl.sum(dsigma[i], 0))
    if BIAS:
        tiles = tl.num_programs(0)
        if is_last(COUNTERS + tl.program_id(1), tiles):
            column = head + tl.arange(0, TOGETHER)
            total = sum_of_parts(SIGMA_SUMS, tiles, HEADS, column, column < HEADS, 128)
            tl.store(DSIGMA + column, total.to(DSIGMA.dtype.element_ty))
