"""Space-filling curves: the Morton (z-order) and Hilbert codes that put the points of a batch into one sequence.

Codes are int64. With ``depth`` bits a coordinate the lowest ``3 * depth`` bits are the position on the curve and
the bits above are the cloud, so that sorting the codes keeps clouds apart. Bit ``i`` of x, y, z lands at
``3i + 2``, ``3i + 1``, ``3i`` of the Morton code. The values are those of Point Transformer V3's public code.

Sources: Wu et al. 2024, "Point Transformer V3", sec. 4.1; Skilling 2004, "Programming the Hilbert curve".

Legend: ``N`` points of all clouds, ``O`` orders.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pointcept_bsa.errors import InputError, nearest

ORDERS = ("z", "z-trans", "hilbert", "hilbert-trans")
MAX_DEPTH = 16


def morton_code(grid_coord: Tensor, depth: int) -> Tensor:
    """Interleave the ``depth`` low bits of the columns of ``grid_coord (N, 3)``: the z-order code ``(N,)``."""
    mask = (1 << depth) - 1
    x, y, z = (_spread_bits(axis & mask) for axis in grid_coord.long().unbind(1))
    return (x << 2) | (y << 1) | z


def hilbert_code(grid_coord: Tensor, depth: int) -> Tensor:
    """Positions ``(N,)`` of the cells ``grid_coord (N, 3)`` on the Hilbert curve through ``2**depth`` cells a side.

    Skilling's transform undoes, from the coarsest bit to the finest, the reflections and axis swaps of the curve;
    what is left is the Gray code of the position with its bits interleaved. Unlike the z-order the curve depends on
    ``depth``: each further bit turns its axes once.
    """
    axes = [axis & ((1 << depth) - 1) for axis in grid_coord.long().unbind(1)]
    for bit in reversed(range(1, depth)):
        lower = (1 << bit) - 1
        for i in range(3):
            is_set = (axes[i] >> bit) & 1 == 1
            reflected = axes[0] ^ lower
            difference = (axes[0] ^ axes[i]) & lower  # exchanging the low bits of two numbers
            axes[i] = torch.where(is_set, axes[i], axes[i] ^ difference) if i else axes[i]
            axes[0] = torch.where(is_set, reflected, axes[0] ^ difference)
    return _gray_to_binary(morton_code(torch.stack(axes, dim=1), depth))


def encode(grid_coord: Tensor, batch: Tensor | None = None, depth: int = MAX_DEPTH, order: str = "z") -> Tensor:
    """The code of each point under one of ``ORDERS``; a ``-trans`` order walks the curve with x and y exchanged.

    Args:
        grid_coord: integer cells ``(N, 3)``, each in ``[0, 2**depth)``.
        batch: cloud of each point ``(N,)``, put into the bits above ``3 * depth``; None for a single cloud.
        depth: bits a coordinate, at most 16.
        order: "z", "z-trans", "hilbert" or "hilbert-trans".

    Returns:
        int64 codes ``(N,)`` on the points' device.
    """
    check_order(order)
    if not 0 <= depth <= MAX_DEPTH:
        raise InputError(f"depth: got {depth}, wanted 0 to {MAX_DEPTH} bits a coordinate")
    if order.endswith("-trans"):
        grid_coord = grid_coord[:, [1, 0, 2]]
    curve = hilbert_code if order.startswith("hilbert") else morton_code
    code = curve(grid_coord, depth)
    return code if batch is None else (batch.long() << (3 * depth)) | code


def serialize(grid_coord: Tensor, batch: Tensor, depth: int, orders: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Sort the points along every curve of ``orders``.

    Returns:
        ``code (O, N)``; ``order (O, N)``, the point at each place of the sequence; ``inverse (O, N)``, the place of
        each point. Points in one cell keep their input order.
    """
    code = torch.stack([encode(grid_coord, batch, depth, order) for order in orders])
    order, inverse = sort_codes(code)
    return code, order, inverse


def sort_codes(code: Tensor) -> tuple[Tensor, Tensor]:
    """The sorting permutation of each row of ``code (O, N)`` and its inverse, both ``(O, N)``."""
    order = torch.argsort(code, dim=1, stable=True)
    places = torch.arange(code.shape[1], device=code.device).expand_as(order)
    return order, torch.empty_like(order).scatter_(1, order, places)


def check_order(order: str) -> None:
    """Raise ``InputError`` unless ``order`` is one of ``ORDERS``."""
    if order not in ORDERS:
        raise InputError(f"order: got {order!r}, wanted one of {', '.join(ORDERS)}{nearest(order, ORDERS)}")


def _spread_bits(value: Tensor) -> Tensor:
    """Move bit ``i`` of ``value`` (up to 21 bits) to bit ``3i``, halving the runs of adjacent bits step by step."""
    for shift, mask in (
        (32, 0x001F00000000FFFF),
        (16, 0x001F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        value = (value | (value << shift)) & mask
    return value


def _gray_to_binary(code: Tensor) -> Tensor:
    """Each bit becomes the parity of itself and all bits above it."""
    for shift in (1, 2, 4, 8, 16, 32):
        code = code ^ (code >> shift)
    return code
