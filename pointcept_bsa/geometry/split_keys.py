"""What the points of a level of a ball tree are sorted by, in plain torch.

``N`` points in the order of the level before, ``d`` space dimensions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.geometry.host_tables import on_device


def split_keys(coord: Tensor, starts: np.ndarray, split: np.ndarray) -> Tensor:
    """Sorting by these keys orders every node along its axis of largest extent and keeps the nodes apart.

    Args:
        coord: (N, d) float32 positions in tree order, none of them -0.0.
        starts: first rank of each node.
        split: whether each node is split; the points of others keep their order.

    Returns:
        (N,) int64, node * 2^32 + the coordinate's bits in ascending order. The first of equally long axes is taken.
    """
    node = _node_of_rank(starts, coord)
    extent = _extent(coord, node, len(starts))
    along = coord.gather(1, extent.argmax(1)[node].unsqueeze(1)).squeeze(1)
    if not split.all():
        along = along.where(on_device(split, coord.device)[node], 0.0)
    return node << 32 | ordered_bits(along)


def _node_of_rank(starts: np.ndarray, like: Tensor) -> Tensor:
    """(N,) index of the node that each rank belongs to, from the first ranks of the nodes."""
    first = torch.zeros(like.shape[0], dtype=torch.long, device=like.device)
    return first.index_fill_(0, on_device(starts, like.device), 1).cumsum(0) - 1


def _extent(coord: Tensor, node: Tensor, num_nodes: int) -> Tensor:
    """(nodes, d) max - min of the coordinates in each node, subtracted in double precision: a float32 difference might
    make two unlike extents equal, and the first axis would win."""
    where = node.unsqueeze(1).expand_as(coord)
    low = coord.new_full((num_nodes, coord.shape[1]), math.inf).scatter_reduce_(0, where, coord, "amin")
    high = coord.new_full((num_nodes, coord.shape[1]), -math.inf).scatter_reduce_(0, where, coord, "amax")
    return high.double() - low.double()


def ordered_bits(x: Tensor) -> Tensor:
    """Map float32 to int64 in [0, 2^32) in the same order."""
    bits = x.view(torch.int32)
    # Floats above 0 rise with their bits as integers, those below fall: flipping all but the sign mends that.
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return bits.long() + 2**31
