"""Triton kernels of SwiGLU, which work off the hidden units HIDE at a time and never write them.

``N`` rows, ``C`` channels (padded to WIDTH), ``M`` hidden units. With a = W_1 x + b_1, b = W_2 x + b_2, s = sigmoid(a),
h = a s b, y = W_3 h + b_3 and the gradient G of y, rows one below the other:
    dh = G W_3;  da = dh b s (1 + a (1 - s));  db = dh a s;  dx = da W_1 + db W_2
    dW_1 = da^T x;  dW_2 = db^T x;  dW_3 = G^T h;  the gradients of biases are the column sums of da, db, G
No atomics: partial sums over the rows are written apart.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.matrix_product import dot, matrix

SIGMOID = tl.constexpr(
    "mul.f32 $0, $1, 0fBFB8AA3B; ex2.approx.ftz.f32 $0, $0; add.f32 $0, $0, 0f3F800000; rcp.approx.ftz.f32 $0, $0;"
)


@triton.jit
def _rows(X, row, rows, C: tl.constexpr, WIDTH: tl.constexpr):
    """(rows, WIDTH) of a contiguous matrix (N, C), zero outside."""
    column = tl.arange(0, WIDTH)
    inside = (row < rows)[:, None] & (column < C)[None, :]
    return tl.load(X + row.to(tl.int64)[:, None] * C + column[None, :], mask=inside, other=0.0)


@triton.jit
def _bias(B, unit, number, TYPE: tl.constexpr):
    """Rounded to TYPE, as that of a linear layer in 16 bits."""
    return tl.load(B + unit, mask=unit < number, other=0.0).to(TYPE).to(tl.float32)


@triton.jit
def _sigmoid(a, UPCAST: tl.constexpr):
    if UPCAST:  # the interpreter knows no PTX
        return 1 / (1 + tl.exp(-a))
    # 1 / (1 + 2^(-a log2 e)) in four instructions, exact to some 2^-22; Triton's own functions take fourteen.
    return tl.inline_asm_elementwise(SIGMOID, "=f,f", [a], tl.float32, True, 1)


@triton.jit
def _slopes(a, b, UPCAST: tl.constexpr):
    """a s b, and its derivatives by a and b."""
    sigmoid = _sigmoid(a, UPCAST)
    silu = a * sigmoid
    return silu * b, b * (sigmoid + silu * (1 - sigmoid)), silu


@triton.jit
def forward_kernel(
    X, W1, B1, W2, B2, W3, B3, OUT, rows, C: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr,
    ROWS: tl.constexpr, HIDE: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """OUT (N, C)."""
    TYPE: tl.constexpr = OUT.dtype.element_ty
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    x = _rows(X, row, rows, C, WIDTH)
    channel = tl.arange(0, WIDTH)
    out = tl.zeros([ROWS, WIDTH], tl.float32) + _bias(B3, channel, C, TYPE)[None, :]
    for start in range(0, M, HIDE):
        unit = start + tl.arange(0, HIDE)
        a = dot(x, tl.trans(matrix(W1, unit, channel, M, C)), "ieee", UPCAST) + _bias(B1, unit, M, TYPE)[None, :]
        b = dot(x, tl.trans(matrix(W2, unit, channel, M, C)), "ieee", UPCAST) + _bias(B2, unit, M, TYPE)[None, :]
        hidden = a * b * _sigmoid(a, UPCAST)
        out += dot(hidden.to(TYPE), tl.trans(matrix(W3, channel, unit, C, M)), "ieee", UPCAST)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    tl.store(OUT + row.to(tl.int64)[:, None] * C + channel[None, :], out.to(TYPE), mask=inside)


@triton.jit
def input_gradient_kernel(
    X, W1, B1, W2, B2, W3, GRAD, DX, rows, C: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr,
    ROWS: tl.constexpr, HIDE: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """DX (N, C)."""
    TYPE: tl.constexpr = DX.dtype.element_ty
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    x, grad = _rows(X, row, rows, C, WIDTH), _rows(GRAD, row, rows, C, WIDTH)
    channel = tl.arange(0, WIDTH)
    dx = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, M, HIDE):
        unit = start + tl.arange(0, HIDE)
        w1, w2 = matrix(W1, unit, channel, M, C), matrix(W2, unit, channel, M, C)
        a = dot(x, tl.trans(w1), "ieee", UPCAST) + _bias(B1, unit, M, TYPE)[None, :]
        b = dot(x, tl.trans(w2), "ieee", UPCAST) + _bias(B2, unit, M, TYPE)[None, :]
        dhidden = dot(grad, matrix(W3, channel, unit, C, M), "ieee", UPCAST)
        _, by_a, by_b = _slopes(a, b, UPCAST)
        dx += dot((dhidden * by_a).to(TYPE), w1, "ieee", UPCAST)
        dx += dot((dhidden * by_b).to(TYPE), w2, "ieee", UPCAST)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    tl.store(DX + row.to(tl.int64)[:, None] * C + channel[None, :], dx.to(TYPE), mask=inside)


@triton.jit
def weight_gradient_kernel(
    X, W1, B1, W2, B2, W3, GRAD, DW, DB, rows, parts, C: tl.constexpr, WIDTH: tl.constexpr, M: tl.constexpr,
    ROWS: tl.constexpr, HIDE: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """DW (programs, 3 M C) and DB (programs, 2 M + C) of HIDE hidden units over ``parts`` tiles of rows: W_1, W_2, W_3
    and b_1, b_2, b_3 after each other. The programs of the first units do b_3. Everything of the hidden units is held
    transposed, (units, rows), as the products over the rows want it."""
    TYPE: tl.constexpr = X.dtype.element_ty
    unit = tl.program_id(1) * HIDE + tl.arange(0, HIDE)
    channel = tl.arange(0, WIDTH)
    w1, w2 = matrix(W1, unit, channel, M, C), matrix(W2, unit, channel, M, C)
    w3 = tl.trans(matrix(W3, channel, unit, C, M))
    b1, b2 = _bias(B1, unit, M, TYPE), _bias(B2, unit, M, TYPE)
    dw1 = tl.zeros([HIDE, WIDTH], tl.float32)
    dw2 = tl.zeros([HIDE, WIDTH], tl.float32)
    dw3 = tl.zeros([HIDE, WIDTH], tl.float32)
    db1 = tl.zeros([HIDE], tl.float32)
    db2 = tl.zeros([HIDE], tl.float32)
    db3 = tl.zeros([WIDTH], tl.float32)
    for part in range(parts):
        row = (tl.program_id(0) * parts + part) * ROWS + tl.arange(0, ROWS)
        # Rows behind the last are zero, and so is what follows from G; h is not, but only meets G.
        x, grad = _rows(X, row, rows, C, WIDTH), _rows(GRAD, row, rows, C, WIDTH)
        a = dot(w1, tl.trans(x), "ieee", UPCAST) + b1[:, None]
        b = dot(w2, tl.trans(x), "ieee", UPCAST) + b2[:, None]
        dhidden = dot(w3, tl.trans(grad), "ieee", UPCAST)
        hidden, by_a, by_b = _slopes(a, b, UPCAST)
        da, db = dhidden * by_a, dhidden * by_b
        db1 += tl.sum(da, 1)
        db2 += tl.sum(db, 1)
        db3 += tl.sum(grad.to(tl.float32), 0)
        dw1 += dot(da.to(TYPE), x, "ieee", UPCAST)
        dw2 += dot(db.to(TYPE), x, "ieee", UPCAST)
        dw3 += dot(hidden.to(TYPE), grad, "ieee", UPCAST)
    program = tl.program_id(0).to(tl.int64)
    units = (unit < M)[:, None] & (channel < C)[None, :]
    DW += program * (3 * M * C)
    where = unit[:, None] * C + channel[None, :]
    tl.store(DW + where, dw1, mask=units)
    tl.store(DW + M * C + where, dw2, mask=units)
    tl.store(DW + 2 * M * C + channel[None, :] * M + unit[:, None], dw3, mask=units)
    DB += program * (2 * M + C)
    tl.store(DB + unit, db1, mask=unit < M)
    tl.store(DB + M + unit, db2, mask=unit < M)
    # All programs of these rows have the same db3: one of them stores it.
    tl.store(DB + 2 * M + channel, db3, mask=(channel < C) & (tl.program_id(1) == 0))
