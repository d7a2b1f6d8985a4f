"""Triton kernels of attention to lists of tokens, forward and backward.

A program holds one tile of queries (forward, ``dq``) or of one list's tokens (``dk``, ``dv``) of one node and one head;
``D`` channels a head padded to ``DIM``; logits are kept in units of log 2. What the lists give to one token is added up
by a kernel of its own, in the order of the nodes, so that the backward pass is deterministic.

The gradient, with S the logits in base e, P = ``weight`` and dO = ``grad``; the bias has none:
    dV = P^T dO;  dP = dO V^T;  delta_i = sum_j P_ij dP_ij = sum_c dO_ic O_ic;  dS = ``dlogits`` = P * (dP - delta)
    dQ = scale dS K;  dK = scale dS^T Q
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.matrix_product import dot

LOG2E = tl.constexpr(1.4426950408889634)  # e^x = 2^(x log2 e): the GPU has an instruction for 2^x


@triton.jit
def _tile(ptr, rows, inside, stride, DIM: tl.constexpr, WIDTH: tl.constexpr):
    """(rows, DIM) channels of a head, zero beyond WIDTH and in rows that are not inside."""
    columns = tl.arange(0, DIM)
    where = rows.to(tl.int64)[:, None] * stride + columns[None, :]
    return tl.load(ptr + where, mask=inside[:, None] & (columns[None, :] < WIDTH), other=0.0)


@triton.jit
def _put(ptr, value, rows, inside, stride, DIM: tl.constexpr, WIDTH: tl.constexpr):
    columns = tl.arange(0, DIM)
    where = rows.to(tl.int64)[:, None] * stride + columns[None, :]
    tl.store(ptr + where, value.to(ptr.dtype.element_ty), mask=inside[:, None] & (columns[None, :] < WIDTH))


@triton.jit
def _listed(TOKENS, BIAS, row, start, number, KEYS: tl.constexpr):
    """Tokens (KEYS,) of a list from ``start`` on, which of them there are, and their bias in units of log 2."""
    place = start + tl.arange(0, KEYS)
    inside = place < number
    token = tl.load(TOKENS + row + place, mask=inside, other=0)
    # Behind the last token -inf as the bias: what masks the list masks the logits.
    bias = tl.load(BIAS + token, mask=inside, other=-float("inf")) * LOG2E
    return token, inside, bias


@triton.jit
def forward_kernel(
    Q, K, V, BIAS, STARTS, LENGTHS, TOKENS, OUT, LSE,
    q_row, q_head, k_row, k_head, v_row, v_head, queries, width, tiles, scale,
    HEADS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """OUT (Q, H, D) and LSE (H, Q), log2 of the sum of exponentials."""
    node, head = tl.program_id(0) // tiles, tl.program_id(1)
    rows = tl.load(STARTS + node) + tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    here = rows < tl.load(STARTS + node + 1)
    q = _tile(Q + head * q_head, rows, here, q_row, DIM, WIDTH)
    number = tl.load(LENGTHS + node)
    highest = tl.full([ROWS], -float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    out = tl.zeros([ROWS, DIM], tl.float32)
    for start in range(0, number, KEYS):
        token, inside, bias = _listed(TOKENS, BIAS, node.to(tl.int64) * width, start, number, KEYS)
        k = _tile(K + head * k_head, token, inside, k_row, DIM, WIDTH)
        v = _tile(V + head * v_head, token, inside, v_row, DIM, WIDTH)
        logits = dot(q, tl.trans(k), PRECISION, UPCAST) * (scale * LOG2E) + bias[None, :]
        new = tl.maximum(highest, tl.max(logits, 1))
        # While no token was seen, -inf - -inf would be NaN; from 0 everything is 2^-inf = 0.
        base = tl.where(new == -float("inf"), 0.0, new)
        weight = tl.exp2(logits - base[:, None])
        old = tl.exp2(highest - base)
        total = total * old + tl.sum(weight, 1)
        out = out * old[:, None] + dot(weight.to(v.dtype), v, PRECISION, UPCAST)
        highest = new
    found = total > 0
    out = out / tl.where(found, total, 1.0)[:, None]
    _put(OUT + head * WIDTH, out, rows, here, HEADS * WIDTH, DIM, WIDTH)
    lse = tl.where(found, highest, 0.0) + tl.log2(tl.where(found, total, 1.0))
    tl.store(LSE + head.to(tl.int64) * queries + rows, lse, mask=here)


@triton.jit
def query_gradient_kernel(
    Q, K, V, BIAS, STARTS, LENGTHS, TOKENS, OUT, LSE, GRAD, DELTA, DQ,
    q_row, q_head, k_row, k_head, v_row, v_head, queries, width, tiles, scale,
    HEADS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """DQ (Q, H, D), and DELTA (H, Q), the product of the output and its gradient."""
    node, head = tl.program_id(0) // tiles, tl.program_id(1)
    rows = tl.load(STARTS + node) + tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    here = rows < tl.load(STARTS + node + 1)
    q = _tile(Q + head * q_head, rows, here, q_row, DIM, WIDTH)
    out = _tile(OUT + head * WIDTH, rows, here, HEADS * WIDTH, DIM, WIDTH)
    grad = _tile(GRAD + head * WIDTH, rows, here, HEADS * WIDTH, DIM, WIDTH)
    delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)
    at = head.to(tl.int64) * queries + rows
    tl.store(DELTA + at, delta, mask=here)
    lse = tl.load(LSE + at, mask=here, other=0.0)
    number = tl.load(LENGTHS + node)
    dq = tl.zeros([ROWS, DIM], tl.float32)
    for start in range(0, number, KEYS):
        token, inside, bias = _listed(TOKENS, BIAS, node.to(tl.int64) * width, start, number, KEYS)
        k = _tile(K + head * k_head, token, inside, k_row, DIM, WIDTH)
        v = _tile(V + head * v_head, token, inside, v_row, DIM, WIDTH)
        logits = dot(q, tl.trans(k), PRECISION, UPCAST) * (scale * LOG2E) + bias[None, :]
        weight = tl.exp2(logits - lse[:, None])
        dlogits = weight * (dot(grad, tl.trans(v), PRECISION, UPCAST) - delta[:, None])
        dq += dot(dlogits.to(k.dtype), k, PRECISION, UPCAST)
    _put(DQ + head * WIDTH, dq * scale, rows, here, HEADS * WIDTH, DIM, WIDTH)


@triton.jit
def token_gradient_kernel(
    Q, K, V, BIAS, STARTS, LENGTHS, TOKENS, LSE, GRAD, DELTA, DK, DV,
    q_row, q_head, k_row, k_head, v_row, v_head, queries, width, tiles, scale,
    HEADS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """DK, DV (M K, H, D), what the queries of a node give to each token of its list. Logits are held transposed."""
    node, head = tl.program_id(0) // tiles, tl.program_id(1)
    start = tl.program_id(0) % tiles * KEYS
    number = tl.load(LENGTHS + node)
    if start < number:
        row = node.to(tl.int64) * width
        token, inside, bias = _listed(TOKENS, BIAS, row, start, number, KEYS)
        k = _tile(K + head * k_head, token, inside, k_row, DIM, WIDTH)
        v = _tile(V + head * v_head, token, inside, v_row, DIM, WIDTH)
        dk = tl.zeros([KEYS, DIM], tl.float32)
        dv = tl.zeros([KEYS, DIM], tl.float32)
        end = tl.load(STARTS + node + 1)
        for first in range(tl.load(STARTS + node), end, ROWS):
            rows = first + tl.arange(0, ROWS)
            here = rows < end
            q = _tile(Q + head * q_head, rows, here, q_row, DIM, WIDTH)
            grad = _tile(GRAD + head * WIDTH, rows, here, HEADS * WIDTH, DIM, WIDTH)
            at = head.to(tl.int64) * queries + rows
            lse = tl.load(LSE + at, mask=here, other=float("inf"))  # no weight beyond the node
            delta = tl.load(DELTA + at, mask=here, other=0.0)
            logits = dot(k, tl.trans(q), PRECISION, UPCAST) * (scale * LOG2E) + bias[:, None]
            weight = tl.exp2(logits - lse[None, :])
            dv += dot(weight.to(grad.dtype), grad, PRECISION, UPCAST)
            dlogits = weight * (dot(v, tl.trans(grad), PRECISION, UPCAST) - delta[None, :])
            dk += dot(dlogits.to(q.dtype), q, PRECISION, UPCAST)
        place = row + start + tl.arange(0, KEYS)
        _put(DK + head * WIDTH, dk * scale, place, inside, HEADS * WIDTH, DIM, WIDTH)
        _put(DV + head * WIDTH, dv, place, inside, HEADS * WIDTH, DIM, WIDTH)


@triton.jit
def sum_kernel(PARTS_K, PARTS_V, OFFSETS, PLACES, DK, DV, C: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr):
    """DK, DV (T, C): the sums of each token's rows of PARTS_K, PARTS_V."""
    token = tl.program_id(0)
    columns = tl.arange(0, COLUMNS)
    dk = tl.zeros([PARTS, COLUMNS], tl.float32)
    dv = tl.zeros([PARTS, COLUMNS], tl.float32)
    end = tl.load(OFFSETS + token + 1)
    # How many lists a token is in depends on the token: PARTS rows are added side by side, and at last together.
    for first in range(tl.load(OFFSETS + token), end, PARTS):
        entry = first + tl.arange(0, PARTS)
        here = entry < end
        place = tl.load(PLACES + entry, mask=here, other=0).to(tl.int64)
        where = place[:, None] * C + columns[None, :]
        mask = here[:, None] & (columns[None, :] < C)
        dk += tl.load(PARTS_K + where, mask=mask, other=0.0)
        dv += tl.load(PARTS_V + where, mask=mask, other=0.0)
    at = token.to(tl.int64) * C + columns
    tl.store(DK + at, tl.sum(dk, 0).to(DK.dtype.element_ty), mask=columns < C)
    tl.store(DV + at, tl.sum(dv, 0).to(DV.dtype.element_ty), mask=columns < C)
