"""What a network remembers of its anchors, and where queries lie among them: against loops over queries and anchors."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.token_tree import TokenSizes, plan_tokens
from pointcept_bsa.layers.anchors import (
    CloudQueryPositions,
    KeysValues,
    NearTiles,
    QueryPositions,
    Tiles,
    TreeMemory,
    cloud_of,
)
from pointcept_bsa.layers.token_levels import TokenLevels

from .by_hand import compare, numbers, softmax_sum

BALL, BLOCK, NEAR, FAN, HEADS, WIDTH = 8, 4, 16, 2, 2, 3
SIZES = TokenSizes(BLOCK, NEAR, FAN, NEAR)
LENGTHS = (75, 1, 13)  # anchors: several balls with empty slots; one; more than a ball
QUERIES = (6, 2, 4)
CLOUD = [cloud for cloud, n in enumerate(QUERIES) for _ in range(n)]


def memory_of(dims: int = 2, rotate: float = 45.0, plan: bool = False) -> TreeMemory:
    coord = numbers(sum(LENGTHS), dims, seed=3, grad=False)
    tree = BallTree.build(coord, LENGTHS, BALL, BLOCK, rotate=rotate)
    memory = TreeMemory(LENGTHS, torch.tensor(LENGTHS).cumsum(0), coord)
    memory.remember(tree, rotate, plan_tokens(tree.layout.slots, SIZES) if plan else None)
    return memory


def queries(dims: int = 2) -> torch.Tensor:
    return numbers(sum(QUERIES), dims, seed=4, grad=False)


@pytest.mark.parametrize("dims", [2, 3])
def test_queries_lie_in_a_ball_of_their_cloud_relative_to_its_anchors(dims):
    memory, coord = memory_of(dims), queries(dims)
    for positions, layout in zip(
        memory.positions(coord, QUERIES), (memory.tree.layout, memory.tree.rotated), strict=True
    ):
        valid, ends = layout.known_valid, torch.tensor(layout.slots).cumsum(0).tolist()
        assert positions.layout is layout and positions.lengths == QUERIES
        for i, cloud in enumerate(CLOUD):
            block, ball = int(positions.block[i]), int(positions.ball[i])
            assert ball == block * BLOCK // BALL
            assert ends[cloud] - layout.slots[cloud] <= block * BLOCK < ends[cloud]
            inside = [layout.coord[s] for s in range(ball * BALL, ball * BALL + BALL) if valid[s]]
            torch.testing.assert_close(positions.relative[i], coord[i] - sum(inside) / len(inside))
        assert torch.equal(positions.coord, coord)


def test_an_anchor_asked_as_a_query_lies_in_its_own_block():
    memory = memory_of()
    for positions, slots in zip(
        memory.positions(memory.coord, LENGTHS),
        (memory.tree.inverse, memory.tree.rotation_inverse[memory.tree.inverse]),
        strict=True,
    ):
        assert torch.equal(positions.block, slots // BLOCK) and torch.equal(positions.ball, slots // BALL)


def test_where_a_query_lies_depends_on_no_other_query_or_cloud():
    memory, coord = memory_of(), queries()
    together = memory.positions(coord, QUERIES)
    for i, cloud in enumerate(CLOUD):
        lengths = tuple(int(c == cloud) for c in range(len(QUERIES)))
        for alone, whole in zip(memory.positions(coord[i : i + 1], lengths), together, strict=True):
            assert int(alone.block[0]) == int(whole.block[i])
            torch.testing.assert_close(alone.relative[0], whole.relative[i])


def test_without_rotation_there_is_one_tree():
    memory = memory_of(rotate=0.0)
    main, rotated = memory.positions(queries(), QUERIES)
    assert rotated is None and memory.rotated is None and isinstance(main, QueryPositions) and main.near is None


def test_without_a_tree_queries_lie_relative_to_the_mean_of_their_clouds_anchors():
    coord, mean = numbers(sum(QUERIES), 3, seed=4), numbers(len(LENGTHS), 3, seed=5)
    positions = CloudQueryPositions.of(coord, QUERIES, mean, LENGTHS)
    compare(
        positions.relative, torch.stack([row - mean[c] for row, c in zip(coord, CLOUD)]), dict(coord=coord, mean=mean)
    )
    assert positions.coord is positions.relative and (positions.lengths, positions.anchors) == (QUERIES, LENGTHS)


def test_the_cloud_of_each_point():
    assert cloud_of(QUERIES, torch.device("cpu")).tolist() == CLOUD
    assert cloud_of([0, 3, 0, 1], torch.device("cpu")).tolist() == [1, 1, 1, 3]


@pytest.mark.parametrize("most", [16, 64])
@pytest.mark.parametrize("ball", [[0] * 600, [3] * 5 + [1] * 33 + [3], [2], list(range(7)) * 3])
def test_a_tile_holds_queries_of_one_ball_in_their_order_and_says_which_rows_are_none(ball, most):
    tiles = Tiles.of(torch.tensor(ball), 7, most)
    rows, found = tiles.rows, {}
    assert rows <= most and len(tiles.query) == len(tiles.used) == rows * len(tiles.ball)
    for place, (query, used) in enumerate(zip(tiles.query.tolist(), tiles.used.tolist(), strict=True)):
        if used:
            assert ball[query] == int(tiles.ball[place // rows])
            found[query] = place
    assert found == dict(enumerate(tiles.slot_of_query.tolist()))
    for one in set(ball):
        places = [found[query] for query, own in enumerate(ball) if own == one]
        first = places[0]
        assert first % rows == 0 and places == list(range(first, first + len(places)))  # no row left out between


def tokens_seen(k, v, valid, layout, block: int):
    """Keys, values and log of the points of the tokens that queries in a block see: near ones fine, far ones coarse."""
    ends = torch.tensor(layout.slots).cumsum(0).tolist()
    cloud = next(c for c, end in enumerate(ends) if block * BLOCK < end)
    start, slots = ends[cloud] - layout.slots[cloud], layout.slots[cloud]
    place, level, inner, found = block * BLOCK - start, 0, (0, 0), []
    while True:
        node = NEAR * FAN**level
        outer = place // node * node, min(place // node * node + node, slots)
        size = BLOCK * FAN**level
        for first in range(*outer, size):
            if not inner[0] <= first < inner[1]:
                parts = range((start + first) // BLOCK, (start + min(first + size, slots)) // BLOCK)
                counts = {b: int(valid[b * BLOCK : b * BLOCK + BLOCK].sum()) for b in parts}
                total = sum(counts.values())
                if total:
                    key, value = (sum(n * x[b] for b, n in counts.items()) / total for x in (k, v))
                    found.append((key, value, math.log(total) if slots > NEAR else 0.0))  # one level: alike
        if outer == (0, slots):
            return zip(*found, strict=True)
        inner, level = outer, level + 1


def test_queries_attend_to_the_tokens_that_their_block_sees():
    memory, coord = memory_of(plan=True), queries()
    (positions, _), layout = memory.positions(coord, QUERIES), memory.tree.layout
    k, v = (numbers(sum(layout.blocks), HEADS, WIDTH, seed=seed) for seed in (6, 7))
    q, want = numbers(sum(QUERIES), HEADS, WIDTH), []
    levels = TokenLevels(WIDTH, SIZES, beam=4, topk=2, phi="mean").double()
    for i in range(len(q)):
        keys, values, counts = tokens_seen(k, v, layout.known_valid, layout, int(positions.block[i]))
        heads = []
        for head in range(HEADS):
            scores = [q[i, head] @ key[head] / math.sqrt(WIDTH) + n for key, n in zip(keys, counts, strict=True)]
            heads.append(softmax_sum(scores, [value[head] for value in values]))
        want.append(torch.stack(heads))
    assert isinstance(positions.near, NearTiles)
    got = positions.near.attend(q, levels(k, v, layout))
    compare(got, torch.stack(want), {"q": q, "k": k, "v": v})


def test_coarse_keys_of_a_layer_without_a_tree_are_none():
    k = torch.zeros(3, 1, 2)
    with pytest.raises(AssertionError):
        _ = KeysValues(k, k).coarse
    assert KeysValues(k, k, k[:1], k[:1]).coarse[0].shape == (1, 1, 2)
