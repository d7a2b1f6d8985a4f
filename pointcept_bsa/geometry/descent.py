"""Which ball of a tree a new point falls into.

At each node a tree has two halves of points. The plane between them is that across the axis along which they are best
separated, midway between the last point of the left half and the first of the right one; a new point goes to the side
on which it lies. So a point of the tree comes back to its own block, unless several points share the coordinate at a
split: all of these go right.

``S`` slots, ``l`` slots a block, ``Q`` new points, ``d`` dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallLayout, rotation_matrix
from pointcept_bsa.geometry.host_tables import host_table, on_device
from pointcept_bsa.geometry.tree_plan import leaves_left


@dataclass(frozen=True, eq=False)
class Descent:
    """The planes of a tree, in single precision as the tree is built.

    Attributes:
        axis, plane: of the nodes of each level, from the roots (one a cloud) down.
        first, halves: the first child of each node, and whether it has a second one behind it.
        degrees: by which coordinates are rotated before, see :func:`.rotation_matrix`.
    """

    axis: tuple[Tensor, ...]
    plane: tuple[Tensor, ...]
    first: tuple[Tensor, ...]
    halves: tuple[Tensor, ...]
    degrees: float

    @classmethod
    def of(cls, layout: BallLayout, degrees: float = 0.0) -> Descent:
        """Of the tree that made ``layout``, from coordinates rotated by ``degrees``."""
        levels = _children(layout.slots, layout.ball_size, layout.block_size)
        first, halves = (tuple(on_device(level[i], layout.coord.device) for level in levels) for i in (0, 1))
        low, high = _block_boxes(layout, degrees)
        axes, planes = [], []
        for left, two in zip(reversed(first), reversed(halves), strict=True):
            right = left + two
            gap, axis = (low[right] - high[left]).max(1)
            last, begin = (x.gather(1, axis.unsqueeze(1)).squeeze(1) for x in (high[left], low[right]))
            middle = last + gap / 2
            middle = torch.where(middle > last, middle, begin)  # no float between them
            middle = middle.where(begin < torch.inf, begin)  # nothing on the right
            planes.append(middle.where(last > -torch.inf, last))  # nothing on the left
            axes.append(axis)
            low, high = torch.minimum(low[left], low[right]), torch.maximum(high[left], high[right])
        return cls(tuple(axes[::-1]), tuple(planes[::-1]), first, halves, degrees)

    def __call__(self, coord: Tensor, cloud: Tensor) -> Tensor:
        """(Q,) block of the layout into which each point at (Q, d) falls, in the tree of its ``cloud`` (Q,)."""
        coord, node = _rotated(coord, self.degrees), cloud
        for axis, plane, first, halves in zip(self.axis, self.plane, self.first, self.halves, strict=True):
            along = coord.gather(1, axis[node].unsqueeze(1)).squeeze(1)
            node = first[node] + (halves[node] & (along >= plane[node]))
        return node


@lru_cache(maxsize=16)
def _children(slots: tuple[int, ...], ball_size: int, block_size: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """First child of each node and whether it has two, by level; the last children are the blocks."""
    leaves = np.asarray(slots, np.int64) // block_size
    levels = []
    while (leaves > 1).any():
        halves = leaves > 1
        first = np.cumsum(1 + halves) - (1 + halves)
        levels.append((first, halves))
        left = np.where(halves, leaves_left(leaves, ball_size // block_size), leaves)
        children = np.stack([left, leaves - left], 1).ravel()
        leaves = children[children > 0]
    return tuple((host_table(first), host_table(halves)) for first, halves in levels)


def _block_boxes(layout: BallLayout, degrees: float) -> tuple[Tensor, Tensor]:
    """Lowest and highest coordinates (S / l, d) of the points of each block; inf and -inf where there are none."""
    coord = _rotated(layout.coord, degrees)
    low, high = coord, coord
    if layout.valid is not None:
        empty = ~layout.valid.unsqueeze(1)
        low, high = coord.masked_fill(empty, torch.inf), coord.masked_fill(empty, -torch.inf)
    shape = (-1, layout.block_size, coord.shape[1])
    return low.view(shape).amin(1), high.view(shape).amax(1)


def _rotated(coord: Tensor, degrees: float) -> Tensor:
    coord = coord.detach()
    return (coord @ rotation_matrix(degrees, coord) if degrees else coord).float()
