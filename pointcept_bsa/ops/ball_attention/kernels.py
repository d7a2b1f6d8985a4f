"""Triton kernels of ball attention, forward and backward, with the distance bias computed where it is used.

``m`` slots a ball, ``D`` channels a head padded to ``DIM``; logits are kept in units of log 2. A program holds one tile
of queries (forward, ``dq``) or of keys (``dk``, ``dv``) of one ball and one head. What the programs add up for sigma is
summed by the last one, in a fixed order, so that the backward pass is deterministic.

A tile lies within one ball and S is a multiple of m, so no row needs a mask. Empty slots are computed along and get no
weight: trees spread them over the balls, a few in each, so that no tile could be skipped.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.launch import is_last, sum_of_parts
from pointcept_bsa.ops.matrix_product import dot

# The GPU has an instruction for 2^x and none for e^x = 2^(x log2 e): the factor goes into ``scale`` and sigma, which
# multiply the logits anyway.
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _tile(ptr, rows, stride, DIM: tl.constexpr, WIDTH: tl.constexpr):
    """(rows, DIM) channels of a head, zero beyond WIDTH."""
    columns = tl.arange(0, DIM)
    where = rows.to(tl.int64)[:, None] * stride + columns[None, :]
    if DIM == WIDTH:
        return tl.load(ptr + where)
    return tl.load(ptr + where, mask=columns[None, :] < WIDTH, other=0.0)


@triton.jit
def _put(ptr, value, rows, stride, DIM: tl.constexpr, WIDTH: tl.constexpr):
    columns = tl.arange(0, DIM)
    where = rows.to(tl.int64)[:, None] * stride + columns[None, :]
    if DIM == WIDTH:
        tl.store(ptr + where, value.to(ptr.dtype.element_ty))
    else:
        tl.store(ptr + where, value.to(ptr.dtype.element_ty), mask=columns[None, :] < WIDTH)


@triton.jit
def _distance(at, rows, coord, columns, SPACE: tl.constexpr):
    """(rows, columns) distances between positions (.., SPACE)."""
    squared = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    for axis in tl.static_range(SPACE):
        a = tl.load(at + rows.to(tl.int64) * SPACE + axis)
        b = tl.load(coord + columns.to(tl.int64) * SPACE + axis)
        # |a|^2 - 2ab + |b|^2 would be a matrix product, but cancels for near points: as the reference.
        difference = a[:, None] - b[None, :]
        squared += difference * difference
    return tl.sqrt(squared)


@triton.jit
def forward_kernel(
    Q, K, V, COORD, AT, BALL_OF, SIGMA, VALID, OUT, LSE,
    q_row, q_head, k_row, k_head, v_row, v_head, slots, scale,
    HEADS: tl.constexpr, GROUP: tl.constexpr, BALL: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    SPACE: tl.constexpr, BIAS: tl.constexpr, MASK: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
    SEPARATE_QUERIES: tl.constexpr,
):  # fmt: skip
    """OUT (S, H, D) and LSE (H, S), log2 of the sum of exponentials; a query without keys gets 0 and 0.

    SEPARATE_QUERIES: queries AT other places than the keys, each tile of them of the ball that BALL_OF says; all of
    them count.
    """
    first, head = tl.program_id(0) * ROWS, tl.program_id(1)
    rows = first + tl.arange(0, ROWS)
    q = _tile(Q + head * q_head, rows, q_row, DIM, WIDTH)
    if SEPARATE_QUERIES:
        ball = tl.load(BALL_OF + tl.program_id(0)).to(tl.int32) * BALL
    else:
        ball = first // BALL * BALL
    highest = tl.full([ROWS], -float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    out = tl.zeros([ROWS, DIM], tl.float32)
    if BIAS:
        sigma = tl.load(SIGMA + head).to(tl.float32) * LOG2E
    for start in range(0, BALL, KEYS):
        keys = ball + start + tl.arange(0, KEYS)
        k = _tile(K + head // GROUP * k_head, keys, k_row, DIM, WIDTH)
        v = _tile(V + head // GROUP * v_head, keys, v_row, DIM, WIDTH)
        logits = dot(q, tl.trans(k), PRECISION, UPCAST) * (scale * LOG2E)
        if BIAS:
            logits += sigma * _distance(AT, rows, COORD, keys, SPACE)
        if MASK:
            inside = tl.load(VALID + keys) != 0
            logits = tl.where(inside[None, :], logits, -float("inf"))
        new = tl.maximum(highest, tl.max(logits, 1))
        # While a query has seen no key, -inf - -inf would be NaN; from 0 everything is 2^-inf = 0.
        base = tl.where(new == -float("inf"), 0.0, new)
        weight = tl.exp2(logits - base[:, None])
        old = tl.exp2(highest - base)
        total = total * old + tl.sum(weight, 1)
        out = out * old[:, None] + dot(weight.to(v.dtype), v, PRECISION, UPCAST)
        highest = new
    found = total > 0
    out = out / tl.where(found, total, 1.0)[:, None]
    if MASK and not SEPARATE_QUERIES:
        here = tl.load(VALID + rows) != 0
        out = tl.where(here[:, None], out, 0.0)
    _put(OUT + head * WIDTH, out, rows, HEADS * WIDTH, DIM, WIDTH)
    lse = tl.where(found, highest, 0.0) + tl.log2(tl.where(found, total, 1.0))
    tl.store(LSE + head.to(tl.int64) * slots + rows, lse)


# The gradient, with S the logits in base e, P = weight = exp(S - log-sum-exp) and dO = grad:
#   dV = P^T dO;  dP = dO V^T;  delta_i = sum_j P_ij dP_ij = sum_c dO_ic O_ic;  dS = dlogits = P * (dP - delta)
#   dQ = scale dS K;  dK = scale dS^T Q;  dsigma = sum_ij dS_ij distance_ij
# delta from O and dO takes a row of each, not all its keys. P = 2^(S log2 e - LSE) is the same number: log2 e stands in
# the exponent alone, and in no gradient.


@triton.jit
def _gradient_of_rows(OUT, GRAD, VALID, rows, head, HEADS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
                      MASK: tl.constexpr):  # fmt: skip
    """Gradient of the output (rows, DIM), zero in empty slots, and its product with the output (rows,)."""
    out = _tile(OUT + head * WIDTH, rows, HEADS * WIDTH, DIM, WIDTH)
    grad = _tile(GRAD + head * WIDTH, rows, HEADS * WIDTH, DIM, WIDTH)
    if MASK:  # the forward pass has put zeros there: nothing of that row must reach dk and dv
        here = tl.load(VALID + rows) != 0
        grad = tl.where(here[:, None], grad, 0.0).to(out.dtype)
    return grad, tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)


@triton.jit
def key_gradient_kernel(
    Q, K, V, COORD, SIGMA, VALID, OUT, LSE, GRAD, DQ, DK, DV, SIGMA_SUMS, COUNTERS, DSIGMA,
    q_row, q_head, k_row, k_head, v_row, v_head, slots, scale,
    HEADS: tl.constexpr, GROUP: tl.constexpr, BALL: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    SPACE: tl.constexpr, BIAS: tl.constexpr, MASK: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr, WITH_DQ: tl.constexpr,
):  # fmt: skip
    """DK, DV (S, H, D) by query head and DSIGMA (H,); SIGMA_SUMS (tiles, H) in passing. WITH_DQ, where one tile holds
    the ball: DQ as well. Logits are held transposed, (keys, queries), as the products for DK and DV want them."""
    tile, head = tl.program_id(0), tl.program_id(1)
    keys = tile * KEYS + tl.arange(0, KEYS)
    ball = tile * KEYS // BALL * BALL
    k = _tile(K + head // GROUP * k_head, keys, k_row, DIM, WIDTH)
    v = _tile(V + head // GROUP * v_head, keys, v_row, DIM, WIDTH)
    dk = tl.zeros([KEYS, DIM], tl.float32)
    dv = tl.zeros([KEYS, DIM], tl.float32)
    dsigma = tl.zeros([KEYS], tl.float32)
    if BIAS:
        sigma = tl.load(SIGMA + head).to(tl.float32) * LOG2E
    if MASK:
        inside = tl.load(VALID + keys) != 0
    for start in range(0, BALL, ROWS):
        rows = ball + start + tl.arange(0, ROWS)
        q = _tile(Q + head * q_head, rows, q_row, DIM, WIDTH)
        grad, delta = _gradient_of_rows(OUT, GRAD, VALID, rows, head, HEADS, DIM, WIDTH, MASK)
        lse = tl.load(LSE + head.to(tl.int64) * slots + rows)
        logits = dot(k, tl.trans(q), PRECISION, UPCAST) * (scale * LOG2E)
        if BIAS:
            distance = _distance(COORD, keys, COORD, rows, SPACE)
            logits += sigma * distance
        weight = tl.exp2(logits - lse[None, :])
        # Chosen, not times 0: a masked key is not in the LSE, so its power may be inf.
        if MASK:
            weight = tl.where(inside[:, None], weight, 0.0)
        dv += dot(weight.to(grad.dtype), grad, PRECISION, UPCAST)
        dlogits = weight * (dot(v, tl.trans(grad), PRECISION, UPCAST) - delta[None, :])
        if BIAS:
            dsigma += tl.sum(dlogits * distance, 1)
        small = dlogits.to(q.dtype)
        dk += dot(small, q, PRECISION, UPCAST)
        if WITH_DQ:  # all keys of the ball are here: nothing to add up over programs
            dq = dot(tl.trans(small), k, PRECISION, UPCAST) * scale
            _put(DQ + head * WIDTH, dq, rows, HEADS * WIDTH, DIM, WIDTH)
    _put(DK + head * WIDTH, dk * scale, keys, HEADS * WIDTH, DIM, WIDTH)
    _put(DV + head * WIDTH, dv, keys, HEADS * WIDTH, DIM, WIDTH)
    if BIAS:
        tiles = tl.num_programs(0)
        tl.store(SIGMA_SUMS + tile.to(tl.int64) * HEADS + head, tl.sum(dsigma, 0))
        if is_last(COUNTERS + head, tiles):
            column = head + tl.arange(0, 1)  # a block of one, as ``sum_of_parts`` takes blocks
            total = sum_of_parts(SIGMA_SUMS, tiles, HEADS, column, column < HEADS, 128)
            tl.store(DSIGMA + column, total.to(DSIGMA.dtype.element_ty))


@triton.jit
def query_gradient_kernel(
    Q, K, V, COORD, SIGMA, VALID, OUT, LSE, GRAD, DQ,
    q_row, q_head, k_row, k_head, v_row, v_head, slots, scale,
    HEADS: tl.constexpr, GROUP: tl.constexpr, BALL: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    SPACE: tl.constexpr, BIAS: tl.constexpr, MASK: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """DQ (S, H, D), for balls of more than one tile of keys."""
    first, head = tl.program_id(0) * ROWS, tl.program_id(1)
    rows = first + tl.arange(0, ROWS)
    ball = first // BALL * BALL
    q = _tile(Q + head * q_head, rows, q_row, DIM, WIDTH)
    grad, delta = _gradient_of_rows(OUT, GRAD, VALID, rows, head, HEADS, DIM, WIDTH, MASK)
    lse = tl.load(LSE + head.to(tl.int64) * slots + rows)
    dq = tl.zeros([ROWS, DIM], tl.float32)
    if BIAS:
        sigma = tl.load(SIGMA + head).to(tl.float32) * LOG2E
    for start in range(0, BALL, KEYS):
        keys = ball + start + tl.arange(0, KEYS)
        k = _tile(K + head // GROUP * k_head, keys, k_row, DIM, WIDTH)
        v = _tile(V + head // GROUP * v_head, keys, v_row, DIM, WIDTH)
        logits = dot(q, tl.trans(k), PRECISION, UPCAST) * (scale * LOG2E)
        if BIAS:
            logits += sigma * _distance(COORD, rows, COORD, keys, SPACE)
        weight = tl.exp2(logits - lse[:, None])
        if MASK:
            inside = tl.load(VALID + keys) != 0
            weight = tl.where(inside[None, :], weight, 0.0)
        dlogits = weight * (dot(grad, tl.trans(v), PRECISION, UPCAST) - delta[:, None])
        dq += dot(dlogits.to(k.dtype), k, PRECISION, UPCAST)
    _put(DQ + head * WIDTH, dq * scale, rows, HEADS * WIDTH, DIM, WIDTH)
