"""The trees of the published Erwin code, built by its own package ``balltree-erwin`` (C++, on the CPU).

:class:`.BallTree` with ``pad="power_of_two"`` holds the same sets of points in its balls. Two things it cannot know,
because they are what the C++ library's ``nth_element`` happens to leave: the order of the two points of a leaf, which
pooling sees, and which of a point and its copy goes left where a rotated ball parts them. Published weights give the
published output of every single point on these trees only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree, invert
from pointcept_bsa.geometry.level_trees import coarsen
from pointcept_bsa.geometry.tree_plan import num_slots


def published_levels(
    coord: Tensor, lengths: tuple[int, ...], ball_sizes: Sequence[int], strides: Sequence[int], degrees: float
) -> list[BallTree]:
    """The tree of each level, in the order of the published code.

    Args:
        coord: (N, d) positions.
        lengths: points of each cloud.
        ball_sizes: slots of a ball at each level.
        strides: slots that become one after each level but the last.
        degrees: angle of the rotated trees; 0 for none.

    Raises:
        InputError: the package is missing, or a cloud is too small to fill a ball at each level (which the published
            code cannot run).
    """
    try:
        from balltree import build_balltree_with_rotations
    except ModuleNotFoundError as error:
        raise InputError("tree: got 'balltree', which needs the package balltree-erwin; wanted 'own'") from error
    slots = tuple(num_slots(n, 1, "power_of_two") for n in lengths)
    unit = max(m * int(np.prod(strides[:i])) for i, m in enumerate(ball_sizes))
    if min(slots) < unit or min(lengths) < 2:
        raise InputError(f"tree: got 'balltree' for a cloud of {min(lengths)} points, wanted more than {unit // 2}")
    batch = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).to(coord.device)
    index, primary, rotations = build_balltree_with_rotations(
        coord.detach(), batch, list(strides), list(ball_sizes), float(degrees)
    )
    home = primary.nonzero().flatten()
    inverse = torch.empty(coord.shape[0], dtype=torch.long, device=coord.device)
    inverse[index[home]] = home
    layout = BallLayout.build(coord.detach()[index], np.ones(len(index), bool), slots, ball_sizes[0], ball_sizes[0])
    levels = []
    for i, rotation in enumerate(rotations):
        if i > 0:
            layout = coarsen(layout, strides[i - 1], ball_sizes[i])
        levels.append(_level(layout, index, inverse, rotation))
    return levels


def _level(layout: BallLayout, index: Tensor, inverse: Tensor, rotation: Tensor | None) -> BallTree:
    if rotation is None:
        return BallTree(layout, index, inverse, copies=True)
    size = layout.ball_size
    rotated = BallLayout.build(layout.coord[rotation], layout.known_valid, layout.slots, size, size)
    return BallTree(layout, index, inverse, rotation, invert(rotation), rotated, copies=True)
