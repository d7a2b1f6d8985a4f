"""Some points of each cloud that stand for all of them: supernodes, or anchors.

They are taken at even steps along the ball tree that ends at single points. So they are spread as the points are, the
same in training and evaluation, whatever the order of the points or the clouds beside them; no draw, no sequence of
farthest points, and nothing that a captured step could not repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree
from pointcept_bsa.geometry.host_tables import host_table, on_device
from pointcept_bsa.geometry.single_tree import SingleTree
from pointcept_bsa.layers.perceiver import Tokens
from pointcept_bsa.layers.query_key import RotaryEmbedding

# Ends at single points: slots are points, in an order that the order of the input does not change.
POINT_TREE = SingleTree(ball_size=1, block_size=1, rotate=0.0)


@dataclass(frozen=True)
class Supernodes:
    """Rows of a batch that stand for its clouds.

    Attributes:
        index: (S,) rows.
        lengths: how many there are in each cloud.
        valid: (S,) False for rows to be ignored; None if there are none.
    """

    index: Tensor
    lengths: tuple[int, ...]
    valid: Tensor | None = None

    @classmethod
    def choose(cls, tree: BallTree, number: int) -> Supernodes:
        """``number`` points of each cloud, or all of a smaller one; ``tree`` is what ``POINT_TREE`` builds."""
        layout = tree.layout
        chosen = tuple(min(slots, number) for slots in layout.slots)
        if layout.host_valid is None:
            place, valid = _places_of_padded(layout, number)
        else:  # a slot is a point
            place, valid = on_device(_places(layout.slots, number), tree.index.device), None
        return cls(tree.index[place], chosen, valid)

    def tokens(self, rotary: RotaryEmbedding, coord: Tensor) -> Tokens:
        """Where they are, of points at ``coord`` (N, d)."""
        return Tokens(self.lengths, self.valid, rotary.cos_sin(coord.index_select(0, self.index)))


@lru_cache(maxsize=16)
def _places(lengths: tuple[int, ...], number: int) -> np.ndarray:
    """Their ranks among the points of all clouds."""
    starts = np.cumsum(lengths) - lengths
    taken = (min(n, number) for n in lengths)
    ranks = [start + (2 * np.arange(k) + 1) * n // (2 * k) for start, n, k in zip(starts, lengths, taken, strict=True)]
    return host_table(np.concatenate(ranks))


def _places_of_padded(layout: BallLayout, number: int) -> tuple[Tensor, Tensor]:
    """The same where the device alone knows how many of the slots hold points, and which of the rows do."""
    assert layout.valid is not None
    places, valid, start = [], [], 0
    for slots in layout.valid.split(layout.slots):
        points = slots.sum()
        taken = points.clamp(max=number)
        every = torch.arange(min(len(slots), number), device=slots.device)
        places.append(start + ((2 * every + 1) * points // (2 * taken)).clamp(max=len(slots) - 1))
        valid.append(every < taken)
        start += len(slots)
    return torch.cat(places), torch.cat(valid)
