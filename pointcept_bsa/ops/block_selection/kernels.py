"""Triton kernels of block selection: exact top-k of <q, k> without the matrix of scores.

``G`` query groups, ``L`` coarse keys (blocks), ``H`` heads, ``D`` channels a head, ``K`` blocks to select, ``T``
consecutive coarse keys a *stretch*.

Two passes. ``best_stretches`` computes every score once and keeps, for each row, the K stretches with the largest
maximum. ``best_in_stretches`` scores the K T keys of those again and picks K.

Why that is exact. Order the keys of a row by falling score, and equal scores by rising index: a total order. A stretch
is as good as its best key, and since stretches are runs of consecutive keys, comparing two of them by (maximum, lower
stretch first) is comparing their best keys in that order. Suppose one of the K best keys lay outside the K best
stretches. Then K stretches would each hold a key better than the best of its own stretch, hence better than it: K keys
better than one of the K best, a contradiction.

A score and its index are compared as one number: the bits of the score, made monotonous, above the bits of
2^32 - 1 - index. So ties need no rule of their own, and no two candidates are equal.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def pack(score, index):
    """float32 scores and their indices in [0, 2^32) as int64 in the order (rising score, falling index)."""
    bits = score.to(tl.int32, bitcast=True)
    # Floats above 0 rise with their bits as integers, those below fall: flipping all but the sign mends that.
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    # The maximum of these is the highest score and, of equal ones, the lowest index.
    return (bits.to(tl.int64) << 32) | (0xFFFFFFFF - index.to(tl.int64))


@triton.jit
def has_score(packed):
    """Whether the packed score is above -inf."""
    return (packed >> 32) > -2139095041  # the bits of -inf, made monotonous


@triton.jit
def cloud_of_tile(tile, table, tiles, groups, blocks, ROWS: tl.constexpr, RAGGED: tl.constexpr):
    """First row of the tile, and of its cloud: first row, end of rows, first key, number of keys, number of balls."""
    if RAGGED:
        entry = table + tile * 6
        first = tl.load(entry)
        start, end = tl.load(entry + 1), tl.load(entry + 2)
        key, keys, balls = tl.load(entry + 3), tl.load(entry + 4), tl.load(entry + 5)
    else:  # equal clouds: ``tiles``, ``groups`` and ``blocks`` of each; ``table`` is the number of balls
        cloud = tile // tiles
        start, key, keys, balls = cloud * groups, cloud * blocks, blocks, table
        end = start + groups
        first = start + (tile - cloud * tiles) * ROWS
    return first, start, end, key, keys, balls


@triton.jit
def first_own_key(row, own, start, end, key, keys, balls, HAS_OWN: tl.constexpr):
    """The first key of each row's own ball, counted inside the cloud; rows behind the end have that of the last."""
    row = tl.minimum(row, end - 1)
    if HAS_OWN:
        return (tl.load(own + row) * (keys // balls)).to(tl.int32) - key
    return (row - start) // ((end - start) // balls) * (keys // balls)


# Not specialised: Triton would compile anew for each such number that is 1, or a multiple of 16, or neither.
@triton.jit(do_not_specialize=["tiles", "groups", "blocks"])
def best_stretches(
    q,
    k,
    block_valid,
    own,  # (G,) ball of each row, counted over the batch
    best,  # (G, H, KEEP) int32
    table,
    tiles,
    groups,
    blocks,
    Q_ROW: tl.constexpr,
    Q_HEAD: tl.constexpr,
    K_ROW: tl.constexpr,
    K_HEAD: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
    DIM: tl.constexpr,  # D, rounded up to a power of two of at least 16
    ROWS: tl.constexpr,
    STRETCH: tl.constexpr,
    KEEP: tl.constexpr,  # K, rounded up to a power of two
    RAGGED: tl.constexpr,
    HAS_VALID: tl.constexpr,
    SKIP_OWN: tl.constexpr,
    HAS_OWN: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """The KEEP stretches of T coarse keys with the largest maxima, in no order; one program a tile of rows and head."""
    head = tl.program_id(1)
    first, start, end, key, keys, balls = cloud_of_tile(tl.program_id(0), table, tiles, groups, blocks, ROWS, RAGGED)
    row = first + tl.arange(0, ROWS)
    d = tl.arange(0, DIM)
    column = tl.arange(0, STRETCH)
    slot = tl.arange(0, KEEP)
    queries = tl.load(
        q + row.to(tl.int64)[:, None] * Q_ROW + head * Q_HEAD + d[None, :],
        mask=(row < end)[:, None] & (d < D)[None, :],
        other=0.0,
    )
    if UPCAST:
        queries = queries.to(tl.float32)
    # Keys of the rows' own balls: [low, high) for each row, [own_from, own_to) for the tile.
    own_from, own_to = 0, 0
    if SKIP_OWN:
        low = first_own_key(row, own, start, end, key, keys, balls, HAS_OWN)
        high = low + keys // balls
        own_from, own_to = tl.min(low), tl.max(high)
    # Places not yet taken hold -inf and indices beyond any stretch, so that no two are equal.
    kept = pack(tl.full((ROWS, KEEP), float("-inf"), tl.float32), (0x7FFFFF00 + slot)[None, :])
    k += key.to(tl.int64) * K_ROW + head * K_HEAD
    for at in range(0, keys, STRETCH):
        c = at + column
        coarse = tl.load(
            k + c.to(tl.int64)[:, None] * K_ROW + d[None, :], mask=(c < keys)[:, None] & (d < D)[None, :], other=0.0
        )
        if UPCAST:
            coarse = coarse.to(tl.float32)
        # Never TF32: the second pass scores in float32, and what is kept here has to be the best there.
        score = tl.dot(queries, tl.trans(coarse), input_precision="ieee")
        if HAS_VALID:
            there = tl.load(block_valid + key + c, mask=c < keys, other=0) != 0
            score = tl.where(there[None, :], score, float("-inf"))
        # Few stretches reach beyond the cloud or into own balls: all others, one branch for the program, go unmasked.
        if (at + STRETCH > keys) | ((at < own_to) & (at + STRETCH > own_from)):
            seen = (c < keys)[None, :]
            if SKIP_OWN:
                seen = seen & ((c[None, :] < low[:, None]) | (c[None, :] >= high[:, None]))
            score = tl.where(seen, score, float("-inf"))
        candidate = pack(tl.max(score, 1), tl.full((ROWS,), 0, tl.int32) + at // STRETCH)
        worst = tl.min(kept, 1)
        # No two are equal, so just one place is taken: no sorting, and no search for where it is.
        taken = (kept == worst[:, None]) & (candidate > worst)[:, None]
        kept = tl.where(taken, candidate[:, None], kept)
    stretch = tl.where(has_score(kept), 0xFFFFFFFF - (kept & 0xFFFFFFFF), -1)
    tl.store(
        best + (row.to(tl.int64)[:, None] * H + head) * KEEP + slot[None, :],
        stretch.to(tl.int32),
        mask=(row < end)[:, None],
    )


@triton.jit(do_not_specialize=["tiles", "groups", "blocks"])
def best_in_stretches(
    q,
    k,
    block_valid,
    own,  # (G,) ball of each row, counted over the batch
    best,  # (G, H, KEEP) int32
    selected,  # (G, H, TOPK) int64
    table,
    tiles,
    groups,
    blocks,
    Q_ROW: tl.constexpr,
    Q_HEAD: tl.constexpr,
    K_ROW: tl.constexpr,
    K_HEAD: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
    DIM: tl.constexpr,  # D, rounded up to a multiple of PART
    PART: tl.constexpr,  # channels multiplied at once
    TILE: tl.constexpr,  # rows of a tile of the table
    ROWS: tl.constexpr,  # rows of this program, a divisor of TILE
    STRETCH: tl.constexpr,
    KEEP: tl.constexpr,
    TOPK: tl.constexpr,
    RAGGED: tl.constexpr,
    HAS_VALID: tl.constexpr,
    SKIP_OWN: tl.constexpr,
    HAS_OWN: tl.constexpr,
):
    """The TOPK best keys of each row's stretches, by falling score; -1 where there are fewer."""
    part = tl.program_id(0) % (TILE // ROWS)
    head = tl.program_id(1)
    first, start, end, key, keys, balls = cloud_of_tile(
        tl.program_id(0) // (TILE // ROWS), table, tiles, groups, blocks, TILE, RAGGED
    )
    row = first + part * ROWS + tl.arange(0, ROWS)
    n = tl.arange(0, KEEP * STRETCH)
    stretch = tl.load(
        best + (row.to(tl.int64)[:, None] * H + head) * KEEP + (n // STRETCH)[None, :],
        mask=(row < end)[:, None],
        other=-1,
    )
    c = stretch * STRETCH + (n % STRETCH)[None, :]
    seen = (stretch >= 0) & (c < keys)
    if SKIP_OWN:
        low = first_own_key(row, own, start, end, key, keys, balls, HAS_OWN)[:, None]
        seen = seen & ((c < low) | (c >= low + keys // balls))
    if HAS_VALID:
        seen = seen & (tl.load(block_valid + key + c, mask=seen, other=0) != 0)
    score = tl.zeros((ROWS, KEEP * STRETCH), tl.float32)
    for at in tl.static_range(0, DIM, PART):
        d = at + tl.arange(0, PART)
        queries = tl.load(
            q + row.to(tl.int64)[:, None] * Q_ROW + head * Q_HEAD + d[None, :],
            mask=(row < end)[:, None] & (d < D)[None, :],
            other=0.0,
        )
        coarse = tl.load(
            k + (key + c).to(tl.int64)[:, :, None] * K_ROW + head * K_HEAD + d[None, None, :],
            mask=seen[:, :, None] & (d < D)[None, None, :],
            other=0.0,
        )
        # Each row has keys of its own: no matrix product. (rows, keys, PART channels) lie in registers.
        score += tl.sum(queries.to(tl.float32)[:, None, :] * coarse.to(tl.float32), 2)
    packed = pack(tl.where(seen, score, float("-inf")), tl.where(seen, c, 0x7FFFFFFF))
    for place in tl.static_range(TOPK):
        winner = tl.max(packed, 1)
        chosen = tl.where(has_score(winner), key + (0xFFFFFFFF - (winner & 0xFFFFFFFF)), -1)
        tl.store(selected + (row.to(tl.int64) * H + head) * TOPK + place, chosen, mask=row < end)
        # Below every packed number: not chosen again. (Keys that are not seen are equal, and give -1 each time.)
        packed = tl.where(packed == winner[:, None], -0x7FFFFFFFFFFFFFFF, packed)
