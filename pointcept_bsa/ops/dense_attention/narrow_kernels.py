"""Triton kernels of dense attention with narrow heads (up to 32 channels), forward and backward.

At 8 channels the tensor cores idle and the work per score decides: on sm_90 a multiprocessor starts 16 exponentials a
cycle (MUFU) but 128 multiply-adds. So everything else that a score costs goes into the padding of the matrix products:

``KX`` (B H, K', KDIM) = [k, 1, 1, 1, 0 ..], or [k, k, 1, 1, 1, 0 ..] where ``FOLD``; ``VX`` = [v, 1, 1, 1, 0 ..]. Rows
    of keys that are masked or only fill up a tile are zero throughout: they add nothing, and no kernel masks a score.
``QX`` (B H, Q', DIM) = [q, -L / FACTOR in three parts]; where ``FOLD`` [q FACTOR in two parts, -L in three parts]:
    QX KX^T is the logit minus L, the log-sum-exp of the row (before the product with FACTOR, unless FOLD). Two or
    three parts of 16 bits hold a float32. ``GX`` = [gradient of the output, -delta in three parts]: GX VX^T is
    dP - delta.

FACTOR = log2(e) / sqrt(channels): logits are kept in units of log 2.

The forward pass needs no running maximum where |q| max|k| FACTOR <= LIMIT, which bounds every logit of the tile: then
2^logit stays far inside the range of bf16 and float32, and the sum of a row is the product with VX's column of ones.
Other tiles, and float16, take the loop with the running maximum. A ``SHARE`` of 8 exponentials is computed by a cubic
polynomial on the idle multiply-add units (:func:`.narrow_exp.exponential`).

LISTED: the clouds are nodes of consecutive queries, of any number each, and every node has a list of keys of its own
with a bias on their logits (:mod:`pointcept_bsa.ops.tree_attention`). KX then is [k, 1, 1, 1, bias in three parts], in
units of the logit, and the columns of the queries beside the bias are ones.

Instructions per score, of which a multiprocessor starts 128 a cycle, counting a MUFU 8 fold: forward 1/2 conversion to
16 bits and 1 exponential, which is 1 MUFU and 1 product with FACTOR (none where FOLD), or 7 others (6 multiply-adds, 1
shift and add). Compiled for sm_90 with SHARE 3 that comes to 4.7 and 5/8 MUFU: both pipes are equally busy. Backward, a
product with dP and up to 1/2 conversion more: 6.8 for the gradients of keys, 6.1 for those of queries, each in a kernel
of its own. There are no atomics: gradients of keys from chunks of queries are summed in a fixed order.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

EIGHT = tl.constexpr("=f,=f,=f,=f,=f,=f,=f,=f,f,f,f,f,f,f,f,f")


@triton.jit
def add_product(a, b, total, UPCAST: tl.constexpr):
    """total + a b in float32. UPCAST: Triton's interpreter multiplies the raw bits of 16-bit floats."""
    if UPCAST:
        return total + tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b, total)


@triton.jit
def product(a, b, UPCAST: tl.constexpr):
    if UPCAST:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b)


@triton.jit
def exp2(x, EXP: tl.constexpr, FACTOR: tl.constexpr):
    """2^(FACTOR x), by the instructions EXP (which hold FACTOR) or, if that is empty, by Triton's own function."""
    if EXP == "":
        return tl.exp2(x * FACTOR)
    return tl.inline_asm_elementwise(EXP, EIGHT, [x], tl.float32, True, 8)  # pure; 8 numbers a piece


@triton.jit
def load_packed(ptr, rows, DIM: tl.constexpr):
    """Rows of a packed array (.., DIM)."""
    return tl.load(ptr + rows[:, None] * DIM + tl.arange(0, DIM)[None, :])


@triton.jit
def store_packed(ptr, value, rows, DIM: tl.constexpr):
    tl.store(ptr + rows[:, None] * DIM + tl.arange(0, DIM)[None, :], value.to(ptr.dtype.element_ty))


@triton.jit
def load_head(ptr, row, inside, start, stride, WIDTH: tl.constexpr, DIM: tl.constexpr, TIMES: tl.constexpr,
          ALIGN: tl.constexpr):  # fmt: skip
    """(rows, DIM) float32: the WIDTH channels of a head TIMES times side by side, then zeros; zero where not inside."""
    columns = tl.arange(0, DIM)
    # What Triton cannot see in strides: rows begin at multiples of ALIGN, so that vectors can be loaded.
    where = tl.multiple_of(start + row.to(tl.int64) * stride, ALIGN)[:, None] + (columns % WIDTH)[None, :]
    return tl.load(ptr + where, mask=inside[:, None] & (columns < TIMES * WIDTH)[None, :], other=0.0).to(tl.float32)


@triton.jit
def rows_of_cloud(STARTS, batch, head, queries, HEADS: tl.constexpr, LISTED: tl.constexpr):
    """First query of a cloud, number of its queries, and the place of the first in arrays by cloud, head and query.
    LISTED: of a node; STARTS are the first queries of each and ``queries`` all of them, and the arrays are by head."""
    if LISTED:
        first = tl.load(STARTS + batch).to(tl.int64)
        return first, (tl.load(STARTS + batch + 1) - first).to(tl.int32), head.to(tl.int64) * queries + first
    else:
        return batch.to(tl.int64) * queries, queries, (batch.to(tl.int64) * HEADS + head) * queries


@triton.jit
def bias_columns(columns, WIDTH: tl.constexpr):
    """Which columns hold the bias of a listed key: a query has ones there."""
    return (columns >= WIDTH + 3) & (columns < WIDTH + 6)


@triton.jit
def two_parts(x, columns, WIDTH: tl.constexpr, TYPE: tl.constexpr):
    """x (rows, columns) holds the same channels twice: the first part of each number, then what that part lacks."""
    high = x.to(TYPE).to(tl.float32)
    # A bf16 has 8 bits: in one part q FACTOR would be off by up to 2^-9 of itself, and logits with it. Two have 16.
    return tl.where((columns < WIDTH)[None, :], high, x - high)


@triton.jit
def pack_keys_kernel(
    K, V, VALID, KX, VX, BOUND, k_batch, k_head, k_row, v_batch, v_head, v_row, keys, padded,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, KDIM: tl.constexpr, VDIM: tl.constexpr, FOLD: tl.constexpr,
    MASK: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """KX, VX, and BOUND (B H, tiles), the greatest |k|^2 of each tile."""
    tile, batch_head = tl.program_id(0), tl.program_id(1)
    batch, head = batch_head // HEADS, batch_head % HEADS
    row = tile * ROWS + tl.arange(0, ROWS)
    inside = row < keys
    if MASK:
        inside &= tl.load(VALID + batch.to(tl.int64) * keys + row, mask=inside, other=0) != 0
    start = batch.to(tl.int64) * k_batch + head.to(tl.int64) * k_head
    k = load_head(K, row, inside, start, k_row, WIDTH, KDIM, 2 if FOLD else 1, ALIGN)
    columns = tl.arange(0, KDIM)
    longest = tl.max(tl.sum(tl.where((columns < WIDTH)[None, :], k * k, 0.0), 1), 0)
    tl.store(BOUND + batch_head * tl.num_programs(0) + tile, longest)
    # Three ones, against which a query has a float32 in three parts of 16 bits. (In the forward pass it has zeros.)
    FIRST: tl.constexpr = WIDTH * (2 if FOLD else 1)
    one = (columns >= FIRST) & (columns < FIRST + 3)
    out_row = batch_head.to(tl.int64) * padded + row
    store_packed(KX, tl.where(inside[:, None] & one[None, :], 1.0, k), out_row, KDIM)
    start = batch.to(tl.int64) * v_batch + head.to(tl.int64) * v_head
    v = load_head(V, row, inside, start, v_row, WIDTH, VDIM, 1, ALIGN)
    columns = tl.arange(0, VDIM)
    one = (columns >= WIDTH) & (columns < WIDTH + 3)
    store_packed(VX, tl.where(inside[:, None] & one[None, :], 1.0, v), out_row, VDIM)


# Not specialised: Triton would compile anew for each such number that is 1, or a multiple of 16, or neither.
@triton.jit(do_not_specialize=["bounds", "limit"])
def forward_kernel(
    Q, KX, VX, BOUND, STARTS, LENGTHS, OUT, LSE, q_batch, q_head, q_row, queries, keys, padded, bounds, limit,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, KDIM: tl.constexpr, VDIM: tl.constexpr, FOLD: tl.constexpr,
    FACTOR: tl.constexpr, EXP: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr,
    KEYS: tl.constexpr, WAIT: tl.constexpr, UPCAST: tl.constexpr, LISTED: tl.constexpr,
):  # fmt: skip
    """OUT (B, Q, H, D) and LSE (B H, Q), log2 of the sum of exponentials. limit 0: always the running maximum.
    WAIT: an instruction that is none ends a step's matrix products within it. Without it they run into the next step,
    where ptxas, which cannot follow them there, lets each wait for the one before."""
    tile, batch_head = tl.program_id(0), tl.program_id(1)
    batch, head = batch_head // HEADS, batch_head % HEADS
    line, count, at = rows_of_cloud(STARTS, batch, head, queries, HEADS, LISTED)
    row = tile * ROWS + tl.arange(0, ROWS)
    inside = row < count
    TYPE: tl.constexpr = KX.dtype.element_ty
    columns = tl.arange(0, KDIM)
    if LISTED:
        start = line * q_row + head.to(tl.int64) * q_head
        keys = tl.load(LENGTHS + batch)
    else:
        start = batch.to(tl.int64) * q_batch + head.to(tl.int64) * q_head
    q = load_head(Q, row, inside, start, q_row, WIDTH, KDIM, 2 if FOLD else 1, ALIGN)
    longest = tl.zeros([128], tl.float32)
    for first in range(0, bounds, 128):
        place = first + tl.arange(0, 128)
        longest = tl.maximum(longest, tl.load(BOUND + batch_head * bounds + place, mask=place < bounds, other=0.0))
    squares = tl.sum(tl.where((columns < WIDTH)[None, :], q * q, 0.0), 1)
    # |logit| <= |q| |k| FACTOR, as squares. One answer for the whole tile: a branch, and no masks.
    fast = tl.max(squares, 0) * tl.max(longest, 0) < limit * limit / (FACTOR * FACTOR)
    if LISTED:
        q = tl.where(bias_columns(columns, WIDTH)[None, :], 1.0, q)
    if FOLD:
        q = two_parts(q * FACTOR, columns, WIDTH, TYPE)
    q = q.to(TYPE)
    REST: tl.constexpr = 1.0 if FOLD else FACTOR
    highest = tl.zeros([ROWS], tl.float32)
    out = tl.zeros([ROWS, VDIM], tl.float32)
    KX += batch_head.to(tl.int64) * padded * KDIM
    VX += batch_head.to(tl.int64) * padded * VDIM
    if fast:
        # A key that is not there has the logit 0 and the weight 1, but its row of VX is zero: it adds nothing.
        for first in range(0, keys, KEYS):
            place = first + tl.arange(0, KEYS)
            logits = product(q, tl.trans(load_packed(KX, place, KDIM)), UPCAST)
            weight = exp2(logits, EXP, REST).to(TYPE)
            out = add_product(weight, load_packed(VX, place, VDIM), out, UPCAST)
            if WAIT:
                out = tl.inline_asm_elementwise("", "=f,0", [out], tl.float32, True, 1)
    else:
        highest += -float("inf")
        for first in range(0, keys, KEYS):
            place = first + tl.arange(0, KEYS)
            logits = product(q, tl.trans(load_packed(KX, place, KDIM)), UPCAST) * REST
            # The column of ones says which keys there are. Here it matters: no maximum from others.
            there = tl.load(VX + place * VDIM + WIDTH) != 0
            logits = tl.where(there[None, :], logits, -float("inf"))
            new = tl.maximum(highest, tl.max(logits, 1))
            base = tl.where(new == -float("inf"), 0.0, new)
            weight = tl.exp2(logits - base[:, None]).to(TYPE)
            out = add_product(weight, load_packed(VX, place, VDIM), out * tl.exp2(highest - base)[:, None], UPCAST)
            highest = new
    columns = tl.arange(0, VDIM)
    # Column WIDTH, the sum of weights as they were rounded for the product: numerator and denominator agree.
    total = tl.sum(tl.where((columns == WIDTH)[None, :], out, 0.0), 1)
    out_row = (line + row) * HEADS + head
    target = OUT + out_row[:, None] * WIDTH + columns[None, :]
    out = (out / total[:, None]).to(OUT.dtype.element_ty)
    tl.store(target, out, mask=inside[:, None] & (columns < WIDTH)[None, :])
    tl.store(LSE + at + row, highest + tl.log2(total), mask=inside)  # highest is 0 where ``fast``
