"""Triton kernels of selected attention by query: forward, and the gradient of the queries.

``S`` slots, ``H`` query heads, ``Hkv`` key/value heads, ``D`` channels a head, ``l`` slots a block, ``G`` query groups
of ``g`` slots, ``K`` selected blocks, ``R`` = g H / Hkv rows that share a selection.

A program holds PACK groups of one key/value head: PACK x ROWS rows (ROWS is R rounded up to a power of two, and the
product is at least 16, the height of a tensor core's tile) against the keys of STEP selected blocks of each group at a
time. Rows see the keys of their own group only: products with those of others are thrown away, which costs nothing
where the tile would else be half empty. Logits are kept in base 2: exp(x) = 2^(x log2 e).

The gradient, with S the logits in base e, P = ``weight`` and dO = ``grad``:
    dV = P^T dO;  dP = dO V^T;  delta_i = sum_j P_ij dP_ij = sum_c dO_ic O_ic;  dS = P * (dP - delta)
    dQ = dS K / sqrt(D);  dK = dS^T Q / sqrt(D), where 1 / sqrt(D) = ``scale`` ln 2
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def rows_of(group, r, GROUP: tl.constexpr, SHARE: tl.constexpr):
    """Slot (int64), and head inside the key/value head, of row r of a group: heads lie beside each other in a slot."""
    return group.to(tl.int64) * GROUP + r // SHARE, r % SHARE


@triton.jit
def load_rows(x, slot, head, d, there, ROW: tl.constexpr, HEAD: tl.constexpr, D: tl.constexpr, UPCAST: tl.constexpr):
    """(rows, DIM) of a (S, H, D) tensor, zero where not ``there``."""
    mask = there[:, None] & (d < D)[None, :]
    tile = tl.load(x + slot[:, None] * ROW + head[:, None] * HEAD + d[None, :], mask=mask, other=0.0)
    return tile.to(tl.float32) if UPCAST else tile


@triton.jit
def selected_keys(
    index,
    valid,
    first,
    at,
    num_groups,
    kv_head,
    HKV: tl.constexpr,
    TOPK: tl.constexpr,
    BLOCK: tl.constexpr,
    PACK: tl.constexpr,
    STEP: tl.constexpr,
    HAS_VALID: tl.constexpr,
):
    """Group in the program, slot (int64) and visibility of the keys of selections at, ..., at + STEP - 1."""
    n = tl.arange(0, PACK * STEP * BLOCK)
    owner = n // (STEP * BLOCK)
    choice = at + n // BLOCK % STEP
    entry = ((first + owner).to(tl.int64) * HKV + kv_head) * TOPK + choice
    block = tl.load(index + entry, mask=(first + owner < num_groups) & (choice < TOPK), other=-1)
    seen = block >= 0
    # Block -1 (none, or no such group) is not seen, but gets a slot that exists.
    slot = tl.maximum(block, 0) * BLOCK + n % BLOCK
    if HAS_VALID:
        seen = seen & (tl.load(valid + slot, mask=seen, other=0) != 0)
    return owner, slot, seen


# Not specialised: Triton would compile anew for each such number that is 1, or a multiple of 16, or neither.
@triton.jit(do_not_specialize=["num_groups"])
def forward(
    q,
    k,
    v,
    index,
    valid,
    out,
    lse,
    num_groups,
    scale,  # log2(e) / sqrt(D)
    Q_ROW: tl.constexpr,
    Q_HEAD: tl.constexpr,
    K_ROW: tl.constexpr,
    K_HEAD: tl.constexpr,
    V_ROW: tl.constexpr,
    V_HEAD: tl.constexpr,
    HKV: tl.constexpr,
    SHARE: tl.constexpr,
    D: tl.constexpr,
    DIM: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    PACK: tl.constexpr,
    BLOCK: tl.constexpr,
    TOPK: tl.constexpr,
    STEP: tl.constexpr,
    HAS_VALID: tl.constexpr,
    EMPTY_ROWS: tl.constexpr,  # empties the slots of the output that are not valid
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Outputs (S, H, D) and base-2 log-sum-exp (S, H) of the scaled logits, zero where nothing is seen."""
    kv_head = tl.program_id(0) % HKV
    first = tl.program_id(0) // HKV * PACK
    m = tl.arange(0, PACK * ROWS)
    d = tl.arange(0, DIM)
    slot, head = rows_of(first + m // ROWS, m % ROWS, GROUP, SHARE)
    head += kv_head * SHARE
    there = (first + m // ROWS < num_groups) & (m % ROWS < GROUP * SHARE)
    queries = load_rows(q, slot, head, d, there, Q_ROW, Q_HEAD, D, UPCAST)
    top = tl.full((PACK * ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((PACK * ROWS,), tl.float32)
    acc = tl.zeros((PACK * ROWS, DIM), tl.float32)
    for at in range(0, TOPK, STEP):
        owner, key, seen = selected_keys(
            index, valid, first, at, num_groups, kv_head, HKV, TOPK, BLOCK, PACK, STEP, HAS_VALID
        )
        own_head = kv_head + tl.zeros_like(owner)
        keys = load_rows(k, key, own_head, d, seen, K_ROW, K_HEAD, D, UPCAST)
        values = load_rows(v, key, own_head, d, seen, V_ROW, V_HEAD, D, UPCAST)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        logits = tl.where(seen[None, :] & ((m // ROWS)[:, None] == owner[None, :]), logits, float("-inf"))
        new_top = tl.maximum(top, tl.max(logits, 1))
        # While a row has seen nothing, -inf - -inf would be NaN; from 0 everything is 2^-inf = 0.
        shift = tl.where(new_top == float("-inf"), 0.0, new_top)
        weight = tl.exp2(logits - shift[:, None])
        shrink = tl.exp2(top - shift)
        total = total * shrink + tl.sum(weight, 1)
        acc = acc * shrink[:, None] + tl.dot(weight.to(values.dtype), values, input_precision=PRECISION)
        top = new_top
    # The others: groups that selected nothing, whose output is 0 and not 0 / 0; its gradient is 0, too.
    something = total > 0
    if EMPTY_ROWS:
        something = something & (tl.load(valid + slot, mask=there, other=0) != 0)
    acc = tl.where(something[:, None], acc / tl.where(something, total, 1.0)[:, None], 0.0)
    tl.store(
        lse + slot * (HKV * SHARE) + head,
        tl.where(something, top + tl.log2(tl.where(something, total, 1.0)), 0.0),
        mask=there,
    )
    tl.store(
        out + slot[:, None] * (HKV * SHARE * D) + head[:, None] * D + d[None, :],
        acc.to(out.dtype.element_ty),
        mask=there[:, None] & (d < D)[None, :],
    )


@triton.jit(do_not_specialize=["num_groups"])
def backward_queries(
    grad,
    q,
    k,
    v,
    index,
    valid,
    out,
    lse,
    delta,
    grad_q,
    num_groups,
    scale,
    G_ROW: tl.constexpr,
    G_HEAD: tl.constexpr,
    Q_ROW: tl.constexpr,
    Q_HEAD: tl.constexpr,
    K_ROW: tl.constexpr,
    K_HEAD: tl.constexpr,
    V_ROW: tl.constexpr,
    V_HEAD: tl.constexpr,
    HKV: tl.constexpr,
    SHARE: tl.constexpr,
    D: tl.constexpr,
    DIM: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    PACK: tl.constexpr,
    BLOCK: tl.constexpr,
    TOPK: tl.constexpr,
    STEP: tl.constexpr,
    HAS_VALID: tl.constexpr,
    EMPTY_ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Gradient of the queries (S, H, D), and <gradient, output> of each row (S, H), which the keys' gradient needs."""
    kv_head = tl.program_id(0) % HKV
    first = tl.program_id(0) // HKV * PACK
    m = tl.arange(0, PACK * ROWS)
    d = tl.arange(0, DIM)
    slot, head = rows_of(first + m // ROWS, m % ROWS, GROUP, SHARE)
    head += kv_head * SHARE
    there = (first + m // ROWS < num_groups) & (m % ROWS < GROUP * SHARE)
    counted = there
    if EMPTY_ROWS:
        counted = there & (tl.load(valid + slot, mask=there, other=0) != 0)
    queries = load_rows(q, slot, head, d, there, Q_ROW, Q_HEAD, D, UPCAST)
    grads = load_rows(grad, slot, head, d, counted, G_ROW, G_HEAD, D, UPCAST)
    outs = load_rows(out, slot, head, d, counted, HKV * SHARE * D, D, D, UPCAST)
    row_lse = tl.load(lse + slot * (HKV * SHARE) + head, mask=there, other=0.0)
    row_delta = tl.sum(grads.to(tl.float32) * outs.to(tl.float32), 1)
    tl.store(delta + slot * (HKV * SHARE) + head, row_delta, mask=there)
    acc = tl.zeros((PACK * ROWS, DIM), tl.float32)
    for at in range(0, TOPK, STEP):
        owner, key, seen = selected_keys(
            index, valid, first, at, num_groups, kv_head, HKV, TOPK, BLOCK, PACK, STEP, HAS_VALID
        )
        own_head = kv_head + tl.zeros_like(owner)
        keys = load_rows(k, key, own_head, d, seen, K_ROW, K_HEAD, D, UPCAST)
        values = load_rows(v, key, own_head, d, seen, V_ROW, V_HEAD, D, UPCAST)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        # Keys of other groups are not in the row's LSE, so their powers might be inf: masked in the exponent.
        own = seen[None, :] & ((m // ROWS)[:, None] == owner[None, :])
        weight = tl.exp2(tl.where(own & counted[:, None], logits - row_lse[:, None], float("-inf")))
        grad_weight = tl.dot(grads, tl.trans(values), input_precision=PRECISION)
        grad_logits = weight * (grad_weight - row_delta[:, None])
        acc += tl.dot(grad_logits.to(keys.dtype), keys, input_precision=PRECISION)
    tl.store(
        grad_q + slot[:, None] * (HKV * SHARE * D) + head[:, None] * D + d[None, :],
        # 1 / sqrt(D): ln 2 takes log2 e out of the scale again.
        (acc * (scale * 0.6931471805599453)).to(grad_q.dtype.element_ty),
        mask=there[:, None] & (d < D)[None, :],
    )
