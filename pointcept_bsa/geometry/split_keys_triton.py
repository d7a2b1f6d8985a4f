"""The same keys by two Triton kernels: the points of a node lie together, so that nothing has to be scattered."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.geometry.host_tables import derived, on_device

CHUNK = 1024  # points of a node that a program holds


@triton.jit
def _extents(COORD, STARTS, LOW, HIGH, SPACE: tl.constexpr, CHUNK: tl.constexpr):
    """Least and greatest coordinate of a chunk of a node: LOW, HIGH (nodes, chunks, SPACE)."""
    node, chunk = tl.program_id(0), tl.program_id(1)
    first, last = tl.load(STARTS + node), tl.load(STARTS + node + 1)
    rank = first + chunk * CHUNK + tl.arange(0, CHUNK)
    place = (node.to(tl.int64) * tl.num_programs(1) + chunk) * SPACE
    for axis in tl.static_range(SPACE):
        x = tl.load(COORD + rank * SPACE + axis, mask=rank < last, other=float("inf"))
        tl.store(LOW + place + axis, tl.min(x, 0))
        x = tl.where(rank < last, x, -float("inf"))
        tl.store(HIGH + place + axis, tl.max(x, 0))


@triton.jit
def longest_axis(LOW, HIGH, node, chunks, SPACE: tl.constexpr, CHUNKS_UP: tl.constexpr):
    """(1,) the first axis of largest extent of a node."""
    each = tl.arange(0, CHUNKS_UP)
    place = (node.to(tl.int64) * chunks + each) * SPACE
    longest = tl.full([1], -1.0, tl.float64)
    best = tl.full([1], 0, tl.int64)
    for axis in tl.static_range(SPACE):
        low = tl.min(tl.load(LOW + place + axis, mask=each < chunks, other=float("inf")), 0)
        high = tl.max(tl.load(HIGH + place + axis, mask=each < chunks, other=-float("inf")), 0)
        # A float32 difference might make two unlike extents equal, and the first axis would win.
        extent = high.to(tl.float64) - low.to(tl.float64)
        best = tl.where(extent > longest, axis, best)
        longest = tl.maximum(longest, extent)
    return best


@triton.jit
def _keys(COORD, STARTS, SPLIT, LOW, HIGH, KEYS, chunks, SPACE: tl.constexpr, CHUNKS_UP: tl.constexpr,
          CHUNK: tl.constexpr):  # fmt: skip
    node, chunk = tl.program_id(0), tl.program_id(1)
    first, last = tl.load(STARTS + node), tl.load(STARTS + node + 1)
    best = longest_axis(LOW, HIGH, node, chunks, SPACE, CHUNKS_UP)
    rank = first + chunk * CHUNK + tl.arange(0, CHUNK)
    bits = tl.load(COORD + rank * SPACE + best, mask=rank < last, other=0.0).to(tl.int32, bitcast=True)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    # All keys equal: a stable sort leaves the node as it is.
    bits = tl.where(tl.load(SPLIT + node) != 0, bits, 0)
    tl.store(KEYS + rank, (node.to(tl.int64) << 32) + (bits.to(tl.int64) + 2147483648), mask=rank < last)


def extents_triton(coord: Tensor, starts: np.ndarray, chunk: int) -> tuple[Tensor, Tensor]:
    """Least and greatest coordinate of each ``chunk`` points of each node: two of (nodes, chunks, d)."""
    points, space = coord.shape
    ends = node_ends(starts, points)
    low = coord.new_empty((len(starts), -(-largest_node(starts, points) // chunk), space))
    high = torch.empty_like(low)
    with on_device_of(coord):
        _extents[low.shape[:2]](
            coord, on_device(ends, coord.device), low, high, SPACE=space, CHUNK=chunk, num_warps=max(1, chunk // 256)
        )
    return low, high


def split_keys_triton(coord: Tensor, starts: np.ndarray, split: np.ndarray) -> Tensor:
    """As :func:`.split_keys.split_keys`."""
    points, space = coord.shape
    coord = coord.contiguous()
    chunk = min(CHUNK, power_of_2(largest_node(starts, points), 16))
    low, high = extents_triton(coord, starts, chunk)
    chunks = low.shape[1]
    keys = torch.empty(points, dtype=torch.long, device=coord.device)
    first, parts = on_device(node_ends(starts, points), coord.device), on_device(split, coord.device)
    with on_device_of(coord):
        _keys[(len(starts), chunks)](
            coord, first, parts.view(torch.uint8), low, high, keys, chunks,
            SPACE=space, CHUNKS_UP=power_of_2(chunks), CHUNK=chunk, num_warps=max(1, chunk // 256),
        )  # fmt: skip
    return keys


def node_ends(starts: np.ndarray, points: int) -> np.ndarray:
    """First rank of each node, and the number of points."""
    ends: np.ndarray = derived(starts, ("ends", points), lambda: np.append(starts, points))
    return ends


def largest_node(starts: np.ndarray, points: int) -> int:
    """Points of the largest node."""
    largest: int = derived(starts, ("largest", points), lambda: int(np.diff(starts, append=points).max()))
    return largest


def power_of_2(size: int, least: int = 1) -> int:
    """The smallest power of two that holds ``size``, at least ``least``."""
    return max(least, 1 << (size - 1).bit_length())
