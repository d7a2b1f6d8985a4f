"""Points that stand for their cloud: at even steps along the tree, the same ones whatever lies beside them."""

from __future__ import annotations

import itertools

import pytest
import torch

from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.layers.query_key import RotaryEmbedding
from pointcept_bsa.layers.supernodes import POINT_TREE, Supernodes

LENGTHS = (37, 1, 16, 5)


def coordinates(lengths=LENGTHS, seed=0) -> torch.Tensor:
    return torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(seed))


def choose(coord, lengths, number) -> Supernodes:
    return Supernodes.choose(POINT_TREE.build({"coord": coord}, lengths), number)


def places_by_hand(points: int, number: int) -> list[int]:
    """The middles of equal steps: floor((i + 1/2) n / k) for k of n points."""
    taken = min(points, number)
    return [(2 * i + 1) * points // (2 * taken) for i in range(taken)]


@pytest.mark.parametrize("number", [1, 4, 5, 16, 100])
def test_they_stand_at_the_middles_of_equal_steps_along_the_tree(number):
    coord = coordinates()
    tree, wanted = POINT_TREE.build({"coord": coord}, LENGTHS), []
    for first, n in zip(itertools.accumulate(LENGTHS, initial=0), LENGTHS, strict=False):
        along = tree.index[first : first + n].tolist()
        assert sorted(along) == list(range(first, first + n))
        wanted += [along[place] for place in places_by_hand(n, number)]
    chosen = Supernodes.choose(tree, number)
    assert chosen.index.tolist() == wanted and chosen.valid is None
    assert chosen.lengths == tuple(min(n, number) for n in LENGTHS)


def test_steps_by_hand():
    assert places_by_hand(10, 4) == [1, 3, 6, 8] and places_by_hand(3, 1) == [1] and places_by_hand(2, 5) == [0, 1]


def test_they_do_not_depend_on_the_order_of_the_points_or_on_clouds_beside_them():
    coord, number = coordinates(), 4
    chosen = choose(coord, LENGTHS, number)
    starts, found = list(itertools.accumulate(LENGTHS, initial=0)), chosen.index.split(chosen.lengths)
    for first, n, rows in zip(starts, LENGTHS, found, strict=False):
        alone = choose(coord[first : first + n], (n,), number)
        assert torch.equal(alone.index + first, rows)
    mixed = torch.cat([first + torch.randperm(n) for first, n in zip(starts, LENGTHS, strict=False)])
    assert torch.equal(mixed[choose(coord[mixed], LENGTHS, number).index], chosen.index)
    turned = [2, 0, 3, 1]
    rows = torch.cat([torch.arange(starts[cloud], starts[cloud + 1]) for cloud in turned])
    other = choose(coord[rows], tuple(LENGTHS[cloud] for cloud in turned), number)
    assert torch.equal(rows[other.index], torch.cat([found[cloud] for cloud in turned]))


@pytest.mark.parametrize("number", [1, 4, 16, 100])
def test_of_a_padded_batch_the_same_points_are_valid(number):
    clouds, first = coordinates().split(LENGTHS), 0
    padding, slots, valid = POINT_TREE.padding(8, "a network"), [], []
    for coord in clouds:
        sample = padding({"coord": coord, "offset": torch.tensor([len(coord)])})
        slots.append(sample["coord"])
        valid.append(sample[VALID])
    lengths = tuple(map(len, slots))
    assert lengths == (40, 8, 16, 8)
    batch = {"coord": torch.cat(slots), VALID: torch.cat(valid)}
    chosen = Supernodes.choose(POINT_TREE.build(batch, lengths), number)
    assert chosen.lengths == tuple(min(n, number) for n in lengths)
    for coord, rows, real in zip(clouds, *(x.split(chosen.lengths) for x in (chosen.index, chosen.valid)), strict=True):
        alone = choose(coord, (len(coord),), number)
        assert torch.equal(batch["coord"][rows[real]], coord[alone.index])
        assert real.tolist() == [i < len(alone.index) for i in range(len(rows))]
        assert batch[VALID][rows[real]].all()
        assert ((rows >= first) & (rows < first + -(-len(coord) // 8) * 8)).all()  # the others are of the cloud, too
        first += -(-len(coord) // 8) * 8


def test_as_tokens_they_are_turned_by_where_they_are():
    coord, rotary = coordinates(), RotaryEmbedding(12, 3, 4.0)
    chosen = choose(coord, LENGTHS, 4)
    tokens = chosen.tokens(rotary, coord)
    assert tokens.lengths == chosen.lengths and tokens.valid is None
    for row, (cos, sin) in zip(chosen.index.tolist(), zip(*tokens.cos_sin, strict=True), strict=True):
        angle = torch.stack([6.2831853 / 4 * 2**n * x for x in coord[row] for n in range(2)])
        torch.testing.assert_close(cos[0], angle.cos(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(sin[0], angle.sin(), rtol=1e-4, atol=1e-5)
