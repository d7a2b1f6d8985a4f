"""New points find the ball of a tree into which they fall."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallTree, rotation_matrix
from pointcept_bsa.geometry.descent import Descent

BALL, BLOCK = 16, 4
LENGTHS = (75, 5, 33, 16, 128, 1)  # several balls with empty slots and blocks; less than a ball; one full ball; a point


def cloud_of_points(lengths=LENGTHS) -> Tensor:
    return torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))


def tree_and_descents(coord, lengths=LENGTHS) -> list[tuple]:
    """(layout, descent) of the main and the rotated tree."""
    tree = BallTree.build(coord, lengths, BALL, BLOCK, rotate=45.0)
    return [(tree.layout, Descent.of(tree.layout)), (tree.rotated, Descent.of(tree.rotated, 45.0))]


@pytest.mark.parametrize("dims", [2, 3])
def test_every_point_of_a_tree_comes_back_to_its_own_block(dims):
    coord = torch.randn(sum(LENGTHS), dims)
    for layout, descent in tree_and_descents(coord):
        starts = torch.tensor([0, *layout.slots]).cumsum(0)
        slots = torch.arange(len(layout.coord))[layout.valid]
        cloud = torch.searchsorted(starts, slots, right=True) - 1
        assert torch.equal(descent(layout.coord[slots], cloud), slots // BLOCK)


def walk(points: Tensor, balls: int, leaves: int, query: Tensor) -> int:
    """The block of a query, from the definition: halves of a sorted list, and the plane midway between them.

    Halves that are apart along several axes are told apart along the one where they are farthest apart.
    """
    if balls * leaves == 1:
        return 0
    if balls > 1:
        left = -(-balls // 2)
        share, halves = left / balls, ((left, leaves), (balls - left, leaves))
    else:
        left = -(-leaves // 2)
        share, halves = left / leaves, ((1, left), (1, leaves - left))
    axis = int((points.amax(0) - points.amin(0)).argmax()) if len(points) else 0
    points = points[points[:, axis].argsort(stable=True)]
    count = int(len(points) * share + 1e-9)
    if count == 0:
        right = True
    elif count == len(points):
        right = False
    else:
        last, begin = points[:count].amax(0), points[count:].amin(0)
        apart = int((begin - last).argmax())
        right = bool(query[apart] >= (last + begin)[apart] / 2)
    below = walk(points[count:] if right else points[:count], *halves[right], query)
    return below + (halves[0][0] * halves[0][1] if right else 0)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_query_descends_as_the_definition_says(dims):
    coord, cloud = torch.randn(sum(LENGTHS), dims), cloud_of_points()
    queries, of = torch.randn(60, dims) * 1.5, torch.arange(60) % len(LENGTHS)
    for degrees, (layout, descent) in zip((0.0, 45.0), tree_and_descents(coord), strict=True):
        matrix = rotation_matrix(degrees, coord)
        first = torch.tensor([0, *layout.slots]).cumsum(0) // BLOCK
        wanted = [
            int(first[c]) + walk((coord @ matrix)[cloud == c], layout.slots[c] // BALL, BALL // BLOCK, q @ matrix)
            for q, c in zip(queries, of.tolist(), strict=True)
        ]
        assert descent(queries, of).tolist() == wanted


def test_points_at_the_same_place_are_no_trouble():
    coord = torch.zeros(50, 3)
    for layout, descent in tree_and_descents(coord, (50,)):
        block = descent(torch.randn(20, 3), torch.zeros(20, dtype=torch.long))
        assert (block >= 0).all() and (block < layout.slots[0] // BLOCK).all()


def test_neighbouring_floats_are_told_apart():
    """The plane between two points that no number separates is the second one."""
    low = torch.tensor(1.0)
    high = torch.nextafter(low, torch.tensor(2.0))
    coord = torch.stack([low.expand(4), high.expand(4)]).reshape(-1, 1).repeat(1, 2)
    tree = BallTree.build(coord, (8,), 8, 4)
    assert Descent.of(tree.layout)(coord, torch.zeros(8, dtype=torch.long)).tolist() == [0] * 4 + [1] * 4
