"""The mean of the neighbours' messages by Triton kernels that keep the messages in registers.

Written out, the messages of N points are k times as large as their features, several times over: as the sum, its
GELU, its norm and their gradients. Here they are computed where they are averaged, and once more in the backward pass,
which writes the gradient of each edge once; a second kernel adds these up over the edges that a point sent along, in
the order of ``senders``: no atomics. The numbers are added up in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

ROOT_HALF = tl.constexpr(0.7071067811865476)
DENSITY = tl.constexpr(0.3989422804014327)  # of the normal distribution at 0


@triton.jit
def _edges(pid, INDEX, WEIGHT, points, K: tl.constexpr, K_UP: tl.constexpr, POINTS: tl.constexpr):
    """Of the edges of POINTS points: the point, the edge, whether it exists, the neighbour, the weight."""
    each = tl.arange(0, POINTS * K_UP)
    point = pid * POINTS + each // K_UP
    there = (point < points) & (each % K_UP < K)
    edge = point.to(tl.int64) * K + each % K_UP
    neighbor = tl.load(INDEX + edge, mask=there, other=0)
    weight = tl.load(WEIGHT + edge, mask=there, other=0.0).to(tl.float32)
    return point, edge, there, neighbor, weight


@triton.jit
def _normal(SENDER, RECEIVER, RELATIVE, MATRIX, BIAS, point, edge, there, neighbor, eps, C: tl.constexpr,
            COLUMNS: tl.constexpr, SPACE: tl.constexpr):  # fmt: skip
    """What the messages are before GELU, and behind GELU and normalisation; 1 / deviation."""
    columns = tl.arange(0, COLUMNS)
    full = columns < C
    inside = there[:, None] & full[None, :]
    before = tl.load(SENDER + neighbor[:, None] * C + columns[None, :], mask=inside, other=0.0).to(tl.float32)
    before += tl.load(RECEIVER + point.to(tl.int64)[:, None] * C + columns[None, :], mask=inside, other=0.0).to(
        tl.float32
    )
    before += tl.load(BIAS + columns, mask=full, other=0.0).to(tl.float32)[None, :]
    for axis in tl.static_range(SPACE):
        place = tl.load(RELATIVE + edge * SPACE + axis, mask=there, other=0.0).to(tl.float32)
        matrix = tl.load(MATRIX + columns * SPACE + axis, mask=full, other=0.0).to(tl.float32)
        before += place[:, None] * matrix[None, :]
    after = 0.5 * before * (1.0 + tl.erf(before * ROOT_HALF))
    # Columns beyond C hold GELU(0) = 0, but are off the mean: they must not count in the variance.
    centered = tl.where(full[None, :], after - (tl.sum(after, 1) / C)[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centered * centered, 1) / C + eps)
    return before, centered * scale[:, None], scale


# Not specialised: Triton would compile anew for each such number that is 1, or a multiple of 16, or neither.
@triton.jit(do_not_specialize=["points"])
def _messages(SENDER, RECEIVER, RELATIVE, INDEX, WEIGHT, MATRIX, BIAS, GAMMA, BETA, OUT, points, eps, C: tl.constexpr,
              COLUMNS: tl.constexpr, SPACE: tl.constexpr, K: tl.constexpr, K_UP: tl.constexpr,
              POINTS: tl.constexpr):  # fmt: skip
    """OUT (N, C): the weighted sums of the messages."""
    columns = tl.arange(0, COLUMNS)
    point, edge, there, neighbor, weight = _edges(tl.program_id(0), INDEX, WEIGHT, points, K, K_UP, POINTS)
    _, normal, _ = _normal(
        SENDER, RECEIVER, RELATIVE, MATRIX, BIAS, point, edge, there, neighbor, eps, C, COLUMNS, SPACE
    )
    gamma = tl.load(GAMMA + columns, mask=columns < C, other=0.0).to(tl.float32)
    beta = tl.load(BETA + columns, mask=columns < C, other=0.0).to(tl.float32)
    message = (normal * gamma[None, :] + beta[None, :]) * weight[:, None]
    total = tl.sum(tl.reshape(message, [POINTS, K_UP, COLUMNS]), 1)
    row = tl.program_id(0) * POINTS + tl.arange(0, POINTS)
    tl.store(OUT + row.to(tl.int64)[:, None] * C + columns[None, :], total.to(OUT.dtype.element_ty),
             mask=(row < points)[:, None] & (columns < C)[None, :])  # fmt: skip


@triton.jit(do_not_specialize=["points"])
def _message_gradients(SENDER, RECEIVER, RELATIVE, INDEX, WEIGHT, MATRIX, BIAS, GAMMA, GRAD, D_EDGE, D_RECEIVER, D_SUMS,
                       points, eps, C: tl.constexpr, COLUMNS: tl.constexpr, SPACE: tl.constexpr, K: tl.constexpr,
                       K_UP: tl.constexpr, POINTS: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """D_EDGE (N, K, C), D_RECEIVER (N, C), D_SUMS (programs, ROWS, C), in float32: of the matrix's columns,
    the bias, the norm's weight and bias."""
    columns = tl.arange(0, COLUMNS)
    full = columns < C
    gamma = tl.load(GAMMA + columns, mask=full, other=0.0).to(tl.float32)
    # Triton cannot write one row of a block in registers: each sum is added to all rows, through a mask.
    which = tl.arange(0, 8 if ROWS <= 8 else 16)[:, None]
    sums = tl.zeros([8 if ROWS <= 8 else 16, COLUMNS], tl.float32)
    for part in range(PARTS):
        pid = tl.program_id(0) * PARTS + part
        point, edge, there, neighbor, weight = _edges(pid, INDEX, WEIGHT, points, K, K_UP, POINTS)
        before, normal, scale = _normal(SENDER, RECEIVER, RELATIVE, MATRIX, BIAS, point, edge, there, neighbor, eps, C,
                                        COLUMNS, SPACE)  # fmt: skip
        inside = there[:, None] & full[None, :]
        place = point.to(tl.int64)[:, None] * C + columns[None, :]
        grad = tl.load(GRAD + place, mask=inside, other=0.0).to(tl.float32) * weight[:, None]
        sums += tl.where(which == SPACE + 1, tl.sum(grad * normal, 0)[None, :], 0.0)
        sums += tl.where(which == SPACE + 2, tl.sum(grad, 0)[None, :], 0.0)
        # LayerNorm, with n = normal and g = gamma dOUT: d after = (g - mean(g) - n mean(g n)) / deviation.
        grad = grad * gamma[None, :]
        mean, slope = tl.sum(grad, 1) / C, tl.sum(grad * normal, 1) / C
        grad = (grad - mean[:, None] - normal * slope[:, None]) * scale[:, None]
        # GELU(x) = x Phi(x), Phi the normal distribution: GELU'(x) = Phi(x) + x Phi'(x).
        grad *= 0.5 * (1.0 + tl.erf(before * ROOT_HALF)) + before * DENSITY * tl.exp(-0.5 * before * before)
        grad = tl.where(inside, grad, 0.0)
        sums += tl.where(which == SPACE, tl.sum(grad, 0)[None, :], 0.0)
        for axis in tl.static_range(SPACE):
            relative = tl.load(RELATIVE + edge * SPACE + axis, mask=there, other=0.0).to(tl.float32)
            sums += tl.where(which == axis, tl.sum(grad * relative[:, None], 0)[None, :], 0.0)
        # Every edge is written by one program alone. Adding at its sender here would take atomics.
        tl.store(D_EDGE + edge[:, None] * C + columns[None, :], grad.to(D_EDGE.dtype.element_ty), mask=inside)
        row = pid * POINTS + tl.arange(0, POINTS)
        total = tl.sum(tl.reshape(grad, [POINTS, K_UP, COLUMNS]), 1)
        tl.store(D_RECEIVER + row.to(tl.int64)[:, None] * C + columns[None, :], total.to(D_RECEIVER.dtype.element_ty),
                 mask=(row < points)[:, None] & full[None, :])  # fmt: skip
    place = (tl.program_id(0).to(tl.int64) * ROWS + which) * C + columns[None, :]
    tl.store(D_SUMS + place, sums, mask=full[None, :] & (which < ROWS))


@triton.jit(do_not_specialize=["points"])
def _sum_at_senders(D_EDGE, ORDER, STARTS, D_SENDER, points, C: tl.constexpr, COLUMNS: tl.constexpr,
                    SENDERS: tl.constexpr):  # fmt: skip
    """D_SENDER (M, C): for each point the sum over the edges ORDER[STARTS[point]:STARTS[point + 1]], in turn."""
    columns = tl.arange(0, COLUMNS)
    point = tl.program_id(0) * SENDERS + tl.arange(0, SENDERS)
    start = tl.load(STARTS + point, mask=point < points, other=0)
    count = tl.load(STARTS + point + 1, mask=point < points, other=0) - start
    total = tl.zeros([SENDERS, COLUMNS], tl.float32)
    # One edge of each point a turn, in the order of its list: so the sum is the same in every run.
    for i in range(tl.max(count, 0)):
        there = i < count
        edge = tl.load(ORDER + start + i, mask=there, other=0)
        total += tl.load(D_EDGE + edge[:, None] * C + columns[None, :], mask=there[:, None] & (columns < C)[None, :],
                         other=0.0).to(tl.float32)  # fmt: skip
    tl.store(D_SENDER + point.to(tl.int64)[:, None] * C + columns[None, :], total.to(D_SENDER.dtype.element_ty),
             mask=(point < points)[:, None] & (columns < C)[None, :])  # fmt: skip
