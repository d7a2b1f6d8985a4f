"""Triton kernels that copy lists of tokens for the kernels of narrow heads, and add up what comes back.

Legend as in :mod:`..dense_attention.narrow_kernels`, with the nodes as clouds.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.dense_attention.narrow_gradient_kernels import in_parts
from pointcept_bsa.ops.dense_attention.narrow_kernels import load_head, store_packed


@triton.jit(do_not_specialize=["longest"])
def pack_lists_kernel(
    K, V, BIAS, TOKENS, KX, VX, BOUND, k_head, k_row, v_head, v_row, longest, padded,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr, SCALE: tl.constexpr, ALIGN: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """KX, VX (M H, K', DIM), and BOUND (M H, tiles), the greatest |k|^2 of each tile. SCALE: the root of WIDTH."""
    tile, node_head = tl.program_id(0), tl.program_id(1)
    node, head = node_head // HEADS, node_head % HEADS
    row = tile * ROWS + tl.arange(0, ROWS)
    token = tl.load(TOKENS + node.to(tl.int64) * longest + row, mask=row < longest, other=-1)
    bias = tl.load(BIAS + token, mask=token >= 0, other=-float("inf"))
    there = bias > -float("inf")
    columns = tl.arange(0, DIM)
    one = there[:, None] & ((columns >= WIDTH) & (columns < WIDTH + 3))[None, :]
    out_row = node_head.to(tl.int64) * padded + row
    k = load_head(K, token, there, head.to(tl.int64) * k_head, k_row, WIDTH, DIM, 1, ALIGN)
    tl.store(BOUND + node_head * tl.num_programs(0) + tile, tl.max(tl.sum(k * k, 1), 0))
    # The kernels multiply logits by FACTOR = log2(e) / SCALE, this part as well: so the bias goes in times SCALE.
    bias = in_parts(tl.where(there, bias * SCALE, 0.0), columns, WIDTH + 3, KX.dtype.element_ty)
    store_packed(KX, tl.where(one, 1.0, k + bias), out_row, DIM)
    v = load_head(V, token, there, head.to(tl.int64) * v_head, v_row, WIDTH, DIM, 1, ALIGN)
    store_packed(VX, tl.where(one, 1.0, v), out_row, DIM)


@triton.jit(do_not_specialize=["longest", "chunks"])
def sum_lists_kernel(
    PARTS, OFFSETS, PLACES, DK, DV, longest, padded, part_size, chunks,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr, FACTOR: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """DK (before: without FACTOR) or DV (T, H, D): the sums over the places of each token in the lists, whose PARTS
    (chunks, 2, M H, K', WIDTH) ``key_gradient_kernel`` left."""
    token, values = tl.program_id(0), tl.program_id(1)
    columns = tl.arange(0, COLUMNS)
    inside = columns < HEADS * WIDTH
    head, channel = columns // WIDTH, columns % WIDTH
    total = tl.zeros([AT_ONCE, COLUMNS], tl.float32)
    begin, end = tl.load(OFFSETS + token), tl.load(OFFSETS + token + 1)
    for part in range(chunks):
        source = PARTS + (part * 2 + values).to(tl.int64) * part_size
        for first in range(begin, end, AT_ONCE):
            entry = first + tl.arange(0, AT_ONCE)
            here = entry < end
            place = tl.load(PLACES + entry, mask=here, other=0)
            node, key = (place // longest).to(tl.int64), place % longest
            row = (node[:, None] * HEADS + head[None, :]) * padded + key[:, None]
            total += tl.load(source + row * WIDTH + channel[None, :], mask=here[:, None] & inside[None, :], other=0.0)
    out = tl.sum(total, 0)
    at = token.to(tl.int64) * (HEADS * WIDTH) + columns
    if values == 0:
        tl.store(DK + at, (out * FACTOR).to(DK.dtype.element_ty), mask=inside)
    else:
        tl.store(DV + at, out.to(DV.dtype.element_ty), mask=inside)
