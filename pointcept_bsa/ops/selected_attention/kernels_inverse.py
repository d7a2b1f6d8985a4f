"""Triton kernels of selected attention by key: the gradients of the keys and values, without atomics.

Legend as in ``kernels.py``. ``L`` blocks; a *list* is the groups that selected one block for one key/value head, in
rising order; there are Hkv L lists, list e = head * L + block.

The selections lie head by head, and sorting them by key = head * (L + 1) + block, L for none, gives all lists behind
each other (``order``, with ``bounds``); whether each head is sorted for itself or all together is the same. Few are
sorted by one kernel that counts. Where Hkv L lists fit keys of 16 bits, which are sorted faster, none goes into the
list of the last block of its head (NARROW), and ``backward_keys`` passes over it there.

A list is worked off in chunks of CHUNK entries. Program e < Hkv L does the first chunk of list e; the *further* chunks
of long lists are numbered through, head by head (``further``: running sum of their numbers over the blocks), and done
by the programs after these, G K / CHUNK for each head, which is enough. A list of one chunk is written at once; the
others leave partial sums, which ``sum_chunks`` adds in the order of the chunks. So shapes do not depend on the data,
and the sums are the same in every run.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pointcept_bsa.ops.launch import is_last

from .kernels import load_rows, rows_of


@triton.jit(do_not_specialize=["size", "blocks"])
def key_of_selection(index, keys, size, blocks, HKV: tl.constexpr, TOPK: tl.constexpr, NARROW: tl.constexpr,
                     TILE: tl.constexpr):  # fmt: skip
    """(G, Hkv, K) blocks -> (Hkv, G, K) int32 keys, or int16 keys from -2^15 on."""
    n = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    block = tl.load(index + n, mask=n < size, other=-1)
    head = n // TOPK % HKV
    place = head * (size // HKV) + n // (HKV * TOPK) * TOPK + n % TOPK
    if NARROW:
        key = head * blocks + tl.where(block >= 0, block, blocks - 1) - 32768
    else:
        key = head * (blocks + 1) + tl.where(block >= 0, block, blocks)
    tl.store(keys + place, key.to(keys.dtype.element_ty), mask=n < size)


@triton.jit(do_not_specialize=["size", "num_lists", "blocks"])
def list_bounds(keys, bounds, chunks, size, num_lists, blocks, CHUNK: tl.constexpr, STEPS: tl.constexpr,
                NARROW: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    """First place and place after the last of each list in the sorted ``keys``, and its chunks after the first."""
    e = tl.program_id(0) * TILE + tl.arange(0, TILE)
    if NARROW:
        key = e - 32768
    else:  # each head has a key more than blocks, for no selection, which is skipped
        key = e + e // blocks
    low, end = tl.zeros((TILE,), tl.int32), tl.zeros((TILE,), tl.int32)
    high, end_high = low + size, end + size
    for _ in range(STEPS):  # 2^STEPS > size: the first place of a value of at least key, and of at least key + 1
        middle, end_middle = (low + high) // 2, (end + end_high) // 2
        # A search that is over loads nothing, and stays: the number of steps need not depend on the data.
        before = (low < high) & (tl.load(keys + middle, mask=low < high, other=0) < key)
        end_before = (end < end_high) & (tl.load(keys + end_middle, mask=end < end_high, other=0) <= key)
        low, high = tl.where(before, middle + 1, low), tl.where(before, high, middle)
        end, end_high = tl.where(end_before, end_middle + 1, end), tl.where(end_before, end_high, end_middle)
    tl.store(bounds + 2 * e, low, mask=e < num_lists)
    tl.store(bounds + 2 * e + 1, end, mask=e < num_lists)
    tl.store(chunks + e, tl.maximum(end - low - 1, 0) // CHUNK, mask=e < num_lists)


@triton.jit
def _key(index, n, selections, blocks, head, HKV: tl.constexpr, TOPK: tl.constexpr, SCALE: tl.constexpr):
    """block SCALE + n of the n-th selection of a head, which sorts them by block and then by n; the highest there is
    from ``selections`` on."""
    there = n < selections
    block = tl.load(index + (n // TOPK * HKV + head) * TOPK + n % TOPK, mask=there, other=-1).to(tl.int32)
    return tl.where(there, tl.where(block >= 0, block, blocks) * SCALE + n, 0x7FFFFFFF)


@triton.jit(do_not_specialize=["selections", "blocks"])
def lists_by_counting(index, order, bounds, further, counters, selections, blocks, HKV: tl.constexpr,
                      TOPK: tl.constexpr, CHUNK: tl.constexpr, SCALE: tl.constexpr, TILE: tl.constexpr,
                      AT_ONCE: tl.constexpr, SCAN: tl.constexpr):  # fmt: skip
    """All lists of few selections at once. The place of a selection is the number of keys below its own, and list
    ``block`` begins behind the keys below block SCALE. The last program of a head takes its running sum."""
    tile, head = tl.program_id(0), tl.program_id(1)
    tiles = tl.cdiv(selections, TILE)
    n = tile * TILE + tl.arange(0, TILE)
    block = n - tiles * TILE
    asked = tl.where(tile < tiles, _key(index, n, selections, blocks, head, HKV, TOPK, SCALE), block * SCALE)
    lower = tl.zeros([TILE, AT_ONCE], tl.int32)
    for start in range(0, selections, AT_ONCE):
        key = _key(index, start + tl.arange(0, AT_ONCE), selections, blocks, head, HKV, TOPK, SCALE)
        lower += (key[None, :] < asked[:, None]).to(tl.int32)
    below = tl.sum(lower, 1) + head * selections
    tl.store(order + below, n, mask=n < selections)
    e = head * blocks + block
    tl.store(bounds + 2 * e, below, mask=(block >= 0) & (block < blocks))
    # Where list e begins the one before it ends. Block number ``blocks`` (none) is here for that alone.
    tl.store(bounds + 2 * e - 1, below, mask=(block > 0) & (block <= blocks))
    if is_last(counters + head, tl.num_programs(0)):
        total = tl.full([], 0, tl.int32)
        for start in range(0, blocks, SCAN):
            each = start + tl.arange(0, SCAN)
            there = each < blocks
            one = head * blocks + each
            # Of other programs: past L1, see ``sum_of_parts``.
            low = tl.load(bounds + 2 * one, mask=there, other=0, cache_modifier=".cg")
            high = tl.load(bounds + 2 * one + 1, mask=there, other=0, cache_modifier=".cg")
            chunks = tl.maximum(high - low - 1, 0) // CHUNK
            tl.store(further + one, (total + tl.cumsum(chunks, 0)).to(tl.int64), mask=there)
            total += tl.sum(chunks, 0)


@triton.jit
def further_before(further, e, blocks):
    """Further chunks of the lists of the same head before list e."""
    return tl.load(further + e - 1, mask=e % blocks > 0, other=0).to(tl.int32)


@triton.jit
def list_of_chunk(further, x, blocks, a_head):
    """The list that further chunk x belongs to: the first of its head whose running sum exceeds x; -1 if there is no
    such chunk."""
    head = x // a_head
    x -= head * a_head
    e = tl.full([], -1, tl.int32)
    if x < tl.load(further + (head + 1) * blocks - 1).to(tl.int32):
        low, high = head * blocks, (head + 1) * blocks
        while low < high:
            middle = (low + high) // 2
            passed = tl.load(further + middle) <= x
            low = tl.where(passed, middle + 1, low)
            high = tl.where(passed, high, middle)
        e = low
    return e


@triton.jit(do_not_specialize=["num_lists", "blocks", "selections", "a_head"])
def backward_keys(
    grad,
    q,
    k,
    v,
    valid,
    index,  # (G, Hkv, K)
    lse,
    delta,
    order,  # (Hkv G K,) places of the selections, sorted by key: among all, or among those of the head
    bounds,  # (Hkv L, 2) int32
    further,  # (Hkv L,) int64
    partial_k,  # (2 x further chunks, l, DIM) float32
    partial_v,
    grad_k,
    grad_v,
    num_lists,
    blocks,
    selections,  # G K, of a head
    a_head,  # further chunks of a head, at most
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
    PACK: tl.constexpr,  # groups at a time
    BLOCK: tl.constexpr,
    TOPK: tl.constexpr,
    CHUNK: tl.constexpr,
    HAS_VALID: tl.constexpr,
    EMPTY_ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Gradients of one block of keys and values from one chunk of its list."""
    e = tl.program_id(0)
    chunk = 0
    if e >= num_lists:
        x = e - num_lists
        e = list_of_chunk(further, x, blocks, a_head)
        if e < 0:
            return
        chunk = 1 + x % a_head - further_before(further, e, blocks)
    begin = tl.load(bounds + 2 * e)
    stop = tl.load(bounds + 2 * e + 1)
    whole = stop - begin <= CHUNK
    begin += chunk * CHUNK
    stop = tl.minimum(stop, begin + CHUNK)

    kv_head = e // blocks
    i = tl.arange(0, BLOCK)
    d = tl.arange(0, DIM)
    key = (e - kv_head * blocks).to(tl.int64) * BLOCK + i
    own_head = kv_head + tl.zeros_like(i)
    seen = i < BLOCK
    if HAS_VALID:
        seen = tl.load(valid + key) != 0
    keys = load_rows(k, key, own_head, d, seen, K_ROW, K_HEAD, D, UPCAST)
    values = load_rows(v, key, own_head, d, seen, V_ROW, V_HEAD, D, UPCAST)
    m = tl.arange(0, PACK * ROWS)
    # Transposed, because a block may be lower than a tensor core's tile but D is not.
    acc_k = tl.zeros((DIM, BLOCK), tl.float32)
    acc_v = tl.zeros((DIM, BLOCK), tl.float32)
    for at in range(begin, stop, PACK):  # of an empty list nothing: then zeros are stored, as they have to be
        entry = at + m // ROWS
        there = (entry < stop) & (m % ROWS < GROUP * SHARE)
        place = tl.load(order + entry, mask=there, other=0).to(tl.int32) % selections
        if e % blocks == blocks - 1:  # where none may be as well
            selection = (place // TOPK).to(tl.int64) * (HKV * TOPK) + kv_head * TOPK + place % TOPK
            there = there & (tl.load(index + selection, mask=there, other=-1) >= 0)
        slot, head = rows_of(place // TOPK, m % ROWS, GROUP, SHARE)
        head += kv_head * SHARE
        if EMPTY_ROWS:
            there = there & (tl.load(valid + slot, mask=there, other=0) != 0)
        queries = load_rows(q, slot, head, d, there, Q_ROW, Q_HEAD, D, UPCAST)
        grads = load_rows(grad, slot, head, d, there, G_ROW, G_HEAD, D, UPCAST)
        row_lse = tl.load(lse + slot * (HKV * SHARE) + head, mask=there, other=0.0)
        row_delta = tl.load(delta + slot * (HKV * SHARE) + head, mask=there, other=0.0)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        own = there[:, None] & seen[None, :]
        # The formulas stand in ``kernels.py``.
        weight = tl.exp2(tl.where(own, logits - row_lse[:, None], float("-inf")))
        grad_weight = tl.dot(grads, tl.trans(values), input_precision=PRECISION)
        grad_logits = weight * (grad_weight - row_delta[:, None])
        acc_v += tl.dot(tl.trans(grads), weight.to(grads.dtype), input_precision=PRECISION)
        acc_k += tl.dot(tl.trans(queries), grad_logits.to(queries.dtype), input_precision=PRECISION)
    # 1 / sqrt(D): ln 2 takes log2 e out of the scale again.
    acc_k *= scale * 0.6931471805599453
    if whole:
        to = key[None, :] * (HKV * D) + kv_head * D + d[:, None]
        mask = (d < D)[:, None] & (i < BLOCK)[None, :]
        tl.store(grad_k + to, acc_k.to(grad_k.dtype.element_ty), mask=mask)
        tl.store(grad_v + to, acc_v.to(grad_v.dtype.element_ty), mask=mask)
    else:
        # A list with x further chunks owns the 2 x partial sums from 2 (further chunks before it) on; it needs x + 1.
        before = kv_head.to(tl.int64) * a_head + further_before(further, e, blocks)
        to = (2 * before + chunk) * (BLOCK * DIM) + i[None, :] * DIM + d[:, None]
        tl.store(partial_k + to, acc_k)
        tl.store(partial_v + to, acc_v)


@triton.jit(do_not_specialize=["blocks", "a_head"])
def sum_chunks(
    further,
    partial_k,
    partial_v,
    grad_k,
    grad_v,
    blocks,
    a_head,  # further chunks of a head, at most
    HKV: tl.constexpr,
    D: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE: tl.constexpr,  # chunks at a time
):
    """Add the chunks of the lists that have more than one; program x looks after the list whose second chunk is x."""
    x = tl.program_id(0)
    e = list_of_chunk(further, x, blocks, a_head)
    if e < 0:
        return
    before = further_before(further, e, blocks)
    if x % a_head > before:
        return
    chunks = tl.load(further + e).to(tl.int32) - before + 1
    kv_head = e // blocks
    first = 2 * (kv_head.to(tl.int64) * a_head + before)
    c = tl.arange(0, TILE)
    n = tl.arange(0, BLOCK * DIM)
    sum_k = tl.zeros((TILE, BLOCK * DIM), tl.float32)
    sum_v = tl.zeros((TILE, BLOCK * DIM), tl.float32)
    for at in range(0, chunks, TILE):
        source = (first + at + c)[:, None] * (BLOCK * DIM) + n[None, :]
        mask = (at + c < chunks)[:, None] & (n >= 0)[None, :]
        sum_k += tl.load(partial_k + source, mask=mask, other=0.0)
        sum_v += tl.load(partial_v + source, mask=mask, other=0.0)
    key = (e - kv_head * blocks).to(tl.int64) * BLOCK + n // DIM
    to = key * (HKV * D) + kv_head * D + n % DIM
    tl.store(grad_k + to, tl.sum(sum_k, 0).to(grad_k.dtype.element_ty), mask=n % DIM < D)
    tl.store(grad_v + to, tl.sum(sum_v, 0).to(grad_v.dtype.element_ty), mask=n % DIM < D)
