"""The order of points in ball trees, by kernels: few launches, and none that the host waits for.

Three ways, by the size of a level's nodes: the last levels in one launch (:mod:`.tree_finish_triton`), larger nodes by
sorted runs (:mod:`.tree_runs_triton`), still larger ones by keys and a sort over all points, which moves the least.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.geometry.host_tables import derived, host_table
from pointcept_bsa.geometry.split_keys_triton import largest_node, split_keys_triton
from pointcept_bsa.geometry.tree_finish_triton import Level, finish_triton, lanes_of_leaf
from pointcept_bsa.geometry.tree_runs_triton import RUNS, run_of, sort_level_triton

FINISHED = 1024  # points of a node from which on one program sorts all levels; a power of two


def sort_into_tree_triton(
    coord: Tensor, levels: tuple[Level, ...], finished: int = FINISHED, runs: tuple[int, ...] = RUNS
) -> Tensor:
    """Order points along their trees.

    Args:
        coord: (T, N, d) float32 positions for each of ``T`` trees of the same shape, none of them -0.0.
        levels: of one tree, as :class:`.tree_plan.TreePlan` has them.
        finished, runs: see :data:`FINISHED` and :data:`.tree_runs_triton.RUNS`.

    Returns:
        (T, N) int64, the point at each rank.
    """
    trees, points, space = coord.shape
    if not levels:
        return torch.arange(points, device=coord.device).expand(trees, points)
    levels = derived(levels[0][0], ("of trees", trees, points), lambda: _side_by_side(levels, trees, points))
    coord, order = coord.reshape(-1, space), None
    leaf = lanes_of_leaf(levels, len(coord))
    last = max(0, len(levels) - max(0, (finished // leaf).bit_length() - 1))
    for starts, split in levels[:last]:
        run = run_of(largest_node(starts, len(coord)), runs)
        if run is not None:
            coord, order = sort_level_triton(coord, order, starts, split, run)
        else:
            step = split_keys_triton(coord, starts, split).argsort(stable=True)
            coord, order = coord[step], step if order is None else order[step]
    if last < len(levels):
        order = finish_triton(coord, order, levels[last:], trees)
    else:
        assert order is not None
        order = order % points
    return order.view(trees, points)


def _side_by_side(levels: tuple[Level, ...], trees: int, points: int) -> tuple[Level, ...]:
    """The levels of several trees of the same shape, whose points follow each other."""
    shift = np.arange(trees) * points
    together = (((shift[:, None] + starts).ravel(), np.tile(split, trees)) for starts, split in levels)
    return tuple((host_table(starts), host_table(split)) for starts, split in together)
