"""The kernels put points into the very order of plain torch, ties included, however large the nodes of a level are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointcept_bsa.geometry.ball_tree import BallTree, _sort_by_levels
from pointcept_bsa.geometry.tree_plan import plan_tree

from .interpreter import DEVICE, INTERPRETED, kernel_test, run_in_interpreter


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def clouds(trees, points, dims, ties):
    """Positions, where wanted on a coarse grid, with a third of all points at one place and zeros of both signs."""
    coord = torch.randn(trees, points, dims)
    if ties:
        coord = coord.round()
        coord[:, : points // 3] = coord[:, :1]
    return coord.to(DEVICE)


def check(coord, plan, **sizes):
    from pointcept_bsa.geometry.tree_sort_triton import sort_into_tree_triton

    coord = coord + 0.0
    order = sort_into_tree_triton(coord, plan.levels, **sizes)
    assert torch.equal(order, torch.stack([_sort_by_levels(c, plan) for c in coord]))


@kernel_test
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("lengths", "unit", "leaf", "trees", "dims", "sizes"),
    [
        ((140, 9, 1), 32, 8, 1, 3, dict()),  # one launch
        ((75,), 12, 3, 2, 2, dict()),  # units that are no power of two of points, nor in number
        ((100, 30), 32, 8, 2, 3, dict(finished=64, runs=(32,))),  # runs, then the rest
        ((90,), 32, 32, 1, 1, dict(finished=16, runs=(8, 16))),  # runs alone
        ((140,), 64, 16, 2, 3, dict(finished=64, runs=(4,))),  # keys, then the rest
    ],
)
def test_order_equals_that_of_plain_torch(lengths, unit, leaf, trees, dims, sizes, ties):
    check(clouds(trees, sum(lengths), dims, ties), plan_tree(lengths, unit, leaf), **sizes)


@kernel_test
@settings(max_examples=8 if INTERPRETED else 30)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=2),
    st.sampled_from([("ball", 16, 4), ("ball", 8, 1), ("power_of_two", 16, 8)]),
    st.integers(0, 99),
)
def test_ties_keep_the_order_of_the_level_above(lengths, shape, seed):
    pad, unit, leaf = shape
    coord = torch.randint(-1, 2, (1, sum(lengths), 2), generator=torch.Generator().manual_seed(seed))
    check(coord.float().to(DEVICE), plan_tree(tuple(lengths), unit, leaf, pad))


@kernel_test
@pytest.mark.parametrize("pad", ["ball", "power_of_two"])
def test_both_trees_of_a_batch_equal_those_of_plain_torch(pad, monkeypatch):
    coord, lengths = clouds(1, 60, 3, ties=True)[0] * -1, (41, 19)
    trees = []
    for choice in ("reference", "triton"):
        monkeypatch.setenv("PCBSA_OPS", choice)
        trees.append(BallTree.build(coord, lengths, 16, 4, rotate=45, pad=pad))
    for name in ("index", "inverse", "rotation", "rotation_inverse"):
        assert torch.equal(getattr(trees[0], name), getattr(trees[1], name))


@pytest.mark.gpu
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "lengths",
    [(1,), (7,), (255,), (257,), (1024,), (3586,), (4096,), (4096,) * 8, (1, 7, 255, 257, 3586), (16_000, 3, 30_000)]
    + [(65_536,), (65_537,), (1_000_000,)],
    ids=lambda lengths: " ".join(map(str, lengths)),
)
def test_order_on_the_gpu(lengths, ties):
    for pad in ("ball", "power_of_two"):
        check(clouds(2, sum(lengths), 3, ties).cuda(), plan_tree(lengths, 256, 8, pad))
